"""What is wrong with a json of COCO's format, annotation by annotation, in words that say what to do."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask

from eps.data.artifacts import read_json
from eps.data.class_names import BACKGROUND
from eps.data.coco_segmentation import box_of, checked_segmentation, has_outline
from eps.data.images import MAX_PIXELS
from eps.errors import some

EXAMPLES = 5
BOX_IOU = 0.5
"""Of an annotation's box and that of its mask: with less they contradict each other."""
OUTSIDE = 2.0
"""Pixels that a box may stick out of its photo: annotators' tools round."""


class CocoFaults(NamedTuple):
    """Faults must be mended; notes tell of what is left out; the summary of what there is, with ids of categories."""

    faults: list[str]
    notes: list[str]
    summary: str = ""


def coco_faults(path: Path) -> CocoFaults:
    """Check categories, photos and annotations of a json; every kind of fault is one line with examples.

    Raises `UserError` for a file that is no json.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        return CocoFaults([f"{path} is a list, as results are: it needs images, annotations and categories"], [])
    lists = {key: content.get(key) for key in ("images", "annotations", "categories")}
    if lacking := [key for key, rows in lists.items() if not _are_records(rows)]:
        return CocoFaults([f"{path} has no list of records {lacking[0]!r}: COCO's format needs it"], [])
    images, annotations, categories = (list(rows or []) for rows in lists.values())
    faults = [f"{path}: {fault}" for fault in (*_category_faults(categories), *_image_faults(images))]
    found = _annotation_faults(annotations, images, categories)
    return CocoFaults(
        faults + [f"{path}: {line}" for line in _told(found.faults)],
        [f"{path}: {line}" for line in _told(found.notes)],
        f"{path}: {_summary(images, annotations, categories)}",
    )


def _summary(
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
) -> str:
    crowds = sum(bool(annotation.get("iscrowd")) for annotation in annotations)
    counts = [
        _count(len(images), "photo"),
        _count(len(annotations) - crowds, "object"),
        *([_count(crowds, "crowd")] if crowds else []),
    ]
    names = [f"{category.get('id')} {category.get('name')}" for category in categories]
    return f"{', '.join(counts)}; ids of categories: {', '.join(names)}"


class _Found(NamedTuple):
    """By kind, the annotations that have it."""

    faults: dict[str, list[str]]
    notes: dict[str, list[str]]


def _are_records(rows: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)


def _category_faults(categories: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not categories:
        yield "there are no categories: list each class as {id, name}"
    for key in ("id", "name"):
        if lacking := sum(key not in category for category in categories):
            yield f"{_count(lacking, 'category', 'categories')} {_have(lacking)} no {key}"
        fits, meant = _CATEGORY[key]
        if odd := [str(category[key]) for category in categories if key in category and not fits(category[key])]:
            yield f"the {key} of {_count(len(odd), 'category', 'categories')} is {meant}: {_some(odd)}"
        counts = Counter(str(category.get(key)) for category in categories)
        for value in [value for value, count in counts.items() if count > 1]:
            yield f"{counts[value]} categories have the {key} {value!r}: each needs its own"


def _image_faults(images: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not images:
        yield "there are no images"
    for key in ("id", "file_name", "height", "width"):
        lacking = [str(image.get("file_name", image.get("id"))) for image in images if key not in image]
        if lacking:
            yield f"{_count(len(lacking), 'image')} {_have(len(lacking))} no {key}: {_some(lacking)}"
    for key, (fits, meant) in _VALUES.items():
        odd = [str(image.get("file_name")) for image in images if key in image and not fits(image[key])]
        if odd:
            yield f"the {key} of {_count(len(odd), 'image')} is {meant}: {_some(odd)}"
    sized = [image for image in images if _is_size(image.get("height")) and _is_size(image.get("width"))]
    if large := [str(image.get("file_name")) for image in sized if image["height"] * image["width"] > MAX_PIXELS]:
        yield f"{_count(len(large), 'image')} would have more than {MAX_PIXELS} pixels, no photo does: {_some(large)}"
    for key in ("id", "file_name"):
        twice = [value for value, n in Counter(str(image.get(key)) for image in images).items() if n > 1]
        if twice:
            yield f"{_count(len(twice), key)} in images more than once, each needs its own: {_some(twice)}"


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_class(value: Any) -> bool:
    return _is_text(value) and value != BACKGROUND


_CATEGORY: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "id": (_is_whole, "no whole number"),
    "name": (_is_class, f"no text, or {BACKGROUND!r}, which is no class"),
}
_VALUES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "id": (_is_id, "neither a whole number nor text"),
    "file_name": (_is_text, "no text"),
    "height": (_is_size, "no positive whole number"),
    "width": (_is_size, "no positive whole number"),
}
"""What values of a category and of a photo must be, and what they are where they are not."""


def _annotation_faults(
    annotations: Sequence[Mapping[str, Any]],
    images: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
) -> _Found:
    photos = {image["id"]: image for image in images if _is_id(image.get("id"))}
    known = {category["id"] for category in categories if _is_whole(category.get("id"))}
    found = _Found(defaultdict(list), defaultdict(list))
    seen: set[str] = set()
    for annotation in annotations:
        name = str(annotation.get("id"))
        if name in seen:
            found.faults["an id that another annotation has: number them anew"].append(name)
        seen.add(name)
        category, number = annotation.get("category_id"), annotation.get("image_id")
        if not _is_id(category) or category not in known:
            hint = "; ids of categories begin at 1 there, not at 0" if category == 0 else ""
            found.faults[f"category_id {category!r}, which no category has{hint}"].append(name)
        photo = photos.get(number) if _is_id(number) else None
        if photo is None:
            found.faults["an image_id that no image has"].append(name)
        elif _is_size(photo.get("height")) and _is_size(photo.get("width")):
            _check_shape(annotation, photo, name, found)
    return found


def _checked_box(
    box: Any, name: str, found: _Found, *, height: int, width: int
) -> tuple[float, float, float, float] | None:
    """A box with an area inside its photo; else None, and what is wrong is found."""
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        if box is not None:
            found.faults["a bbox that is not four numbers [x, y, width, height]"].append(name)
        return None
    x, y, w, h = box
    if w <= 0 or h <= 0:
        found.notes["a box without area"].append(name)
    inside = x >= -OUTSIDE and y >= -OUTSIDE and x + w <= width + OUTSIDE and y + h <= height + OUTSIDE
    if not inside:  # nor where a number is not finite
        found.faults[f"a box outside its photo; {_outside_hint(box, height, width)}"].append(name)
    return (float(x), float(y), float(w), float(h)) if inside and w > 0 and h > 0 else None


def _check_shape(annotation: Mapping[str, Any], photo: Mapping[str, Any], name: str, found: _Found) -> None:
    """Box and segmentation of one annotation."""
    height, width = photo["height"], photo["width"]
    name = f"{name} ({photo.get('file_name')})"
    stated = _checked_box(annotation.get("bbox"), name, found, height=height, width=width)
    if not has_outline(annotation):
        if box_of(annotation) is not None:
            found.notes["a box alone: a tag, but no mask to learn from; its pixels count neither way"].append(name)
        elif "segmentation" in annotation:
            found.notes["a mask without a pixel, which is left out"].append(name)
        else:
            found.faults["neither a segmentation nor a box with an area"].append(name)
        return
    try:
        rle = checked_segmentation(annotation["segmentation"], height=height, width=width)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        found.faults[f"a segmentation that cannot be read: {error}"].append(name)
        return
    if rle is None or coco_mask.area(rle) == 0:
        found.notes["a mask without a pixel, which is left out"].append(name)
    elif stated is not None and _contradicts(stated, coco_mask.toBbox(rle).tolist()):
        found.notes["a bbox that is not that of its own mask: AP of boxes goes by the bbox, masks are learnt"].append(
            name
        )


def _outside_hint(box: Sequence[int | float], height: int, width: int) -> str:
    """What may have gone wrong with a box that sticks out of its photo."""
    x, y, w, h = box
    if not all(-math.inf < side < math.inf for side in box):
        return "it has numbers that are not finite"
    inside = min(x, y) >= -OUTSIDE
    if inside and x + w <= height + OUTSIDE and y + h <= width + OUTSIDE:
        return "height and width of the photo may have been swapped"
    if inside and x < w <= width + OUTSIDE and y < h <= height + OUTSIDE:
        return "it would fit as x0, y0, x1, y1: COCO's boxes are x, y, width, height"
    return "boxes are x, y, width, height in pixels from the photo's upper left corner"


def _contradicts(box: Sequence[float], mask: Sequence[float]) -> bool:
    """Whether the box of an annotation has little to do with its mask's, beyond what tools round."""
    edges = [(one[0], one[1], one[0] + one[2], one[1] + one[3]) for one in (box, mask)]
    if max(abs(a - b) for a, b in zip(*edges, strict=True)) <= OUTSIDE:
        return False
    width, height = (min(edges[0][i + 2], edges[1][i + 2]) - max(edges[0][i], edges[1][i]) for i in (0, 1))
    overlap = max(0.0, width) * max(0.0, height)
    return overlap < BOX_IOU * (box[2] * box[3] + mask[2] * mask[3] - overlap)


def _told(found: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"{_count(len(names), 'annotation')} {_have(len(names))} {fault}: {_some(names)}"
        for fault, names in found.items()
    ]


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _some(names: Sequence[str]) -> str:
    return some(names, most=EXAMPLES)
