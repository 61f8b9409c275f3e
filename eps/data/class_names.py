"""The classes of well-known datasets, in the order of their label maps: class c has the label c + 1."""

from eps.errors import UserError
from eps.ops.pseudo_labels import IGNORE

VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""PASCAL VOC 2012's 20, alphabetically."""

COCO_CATEGORIES = {
    **{1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck"},
    **{9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench"},
    **{16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear"},
    **{24: "zebra", 25: "giraffe", 27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase"},
    **{34: "frisbee", 35: "skis", 36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat"},
    **{40: "baseball glove", 41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle"},
    **{46: "wine glass", 47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple"},
    **{54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza", 60: "donut"},
    **{61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed", 67: "dining table", 70: "toilet"},
    **{72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard", 77: "cell phone", 78: "microwave"},
    **{79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book", 85: "clock", 86: "vase"},
    **{87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush"},
}
"""COCO's 80 categories by the ids of its json files, which leave gaps."""

COCO = tuple(COCO_CATEGORIES.values())
"""COCO's 80 in the order of their category ids."""

BACKGROUND = "background"
"""What belongs to no class: the name is taken."""

MOST_CLASSES = IGNORE - 1
"""That a mask's bytes tell apart, beside the background and what is ignored."""

_KNOWN = {"voc": VOC, "coco": COCO}


def unnamed(count: int) -> tuple[str, ...]:
    """What so many classes are called where nobody has named them."""
    return tuple(f"class {number}" for number in range(1, count + 1))


def class_names(given: object) -> tuple[str, ...]:
    """Names from what a user writes: a list of them, `voc`, `coco`, or how many classes there are.

    Raises `UserError` for anything else, and for names that stand twice or do not fit into a byte.
    """
    if isinstance(given, str) and given in _KNOWN:
        return _KNOWN[given]
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        given = [str(number) for number in range(1, given + 1)]
    if not isinstance(given, list | tuple) or not given:
        raise UserError(f"classes={given}: give voc, coco, names [a,b,...], or their number (background not counted)")
    names = tuple(str(name) for name in given)
    if len({BACKGROUND, *names}) <= len(names) or len(names) > MOST_CLASSES:
        raise UserError(f"classes: give each name once, without background, and {MOST_CLASSES} names at most")
    return names
