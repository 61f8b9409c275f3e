import numpy as np
import pytest
from PIL import Image

from eps.data.palette import class_color
from eps.engine.drawing import Style, draw_instances


def draw(
    photo: Image.Image,
    boxes: list[list[float]],
    classes: list[int],
    labels: list[str],
    masks: np.ndarray | None = None,
    **shown: bool,
) -> np.ndarray:
    if masks is None:
        masks = np.zeros((len(boxes), photo.height, photo.width), dtype=bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[int(y1) : int(y2), int(x1) : int(x2)] = True
    made = draw_instances(
        photo,
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        classes=np.array(classes, dtype=np.int64),
        masks=masks,
        labels=labels,
        **shown,
    )
    return np.asarray(made)


def test_inside_the_colour_lies_over_the_photo_and_outside_nothing_changes() -> None:
    photo = Image.new("RGB", (400, 300), (100, 100, 100))
    drawn = draw(photo, [[100, 100, 300, 250]], [2], ["tree 0.90"])
    expected = 100 + (np.array(class_color(2)) - 100) * 0.45
    assert np.abs(drawn[200, 200] - expected).max() <= 2
    assert tuple(drawn[200, 100]) == class_color(2)  # the rim
    assert (drawn[270:, :] == 100).all()
    assert (drawn[:, 320:] == 100).all()


def test_masks_boxes_and_labels_may_be_left_out() -> None:
    """Each alone shows where it is: inside, at the rim, above the box."""
    photo = Image.new("RGB", (400, 300), (100, 100, 100))
    masks = np.zeros((1, 300, 400), dtype=bool)
    masks[0, 150:200, 150:250] = True
    boxes = [[100.0, 100, 300, 250]]

    def places(label: str, **shown: bool) -> tuple[bool, bool, bool]:
        changed = (draw(photo, boxes, [2], [label], masks, **shown) != 100).any(axis=2)
        return bool(changed[170, 200]), bool(changed[200, 100]), bool(changed[:99].any())

    assert places("tree") == (True, True, True)
    assert places("tree", with_masks=False) == (False, True, True)
    assert places("tree", with_boxes=False) == (True, False, True)
    assert places("") == (True, True, False)
    nothing = draw(photo, boxes, [2], [""], masks, with_masks=False, with_boxes=False)
    assert (nothing == 100).all()


def test_the_better_of_two_lies_on_top() -> None:
    photo = Image.new("RGB", (400, 300))
    boxes = [[50.0, 50, 350, 250], [50.0, 50, 350, 250]]
    drawn = draw(photo, boxes, [0, 1], ["a", "b"])
    assert tuple(drawn[200, 50]) == class_color(0)
    over = 0.45 * np.array(class_color(0)) + 0.55 * 0.45 * np.array(class_color(1))
    assert np.abs(drawn[150, 200] - over).max() <= 3


def test_labels_do_not_hide_each_other() -> None:
    """Each has its own place, and all are within the photo."""
    photo = Image.new("RGB", (400, 300))
    empty = np.zeros((3, 300, 400), dtype=bool)
    boxes = [[100.0, 100, 300, 200], [100.0, 100, 300, 200], [100.0, 100, 300, 200]]
    drawn = draw(photo, boxes, [0, 1, 2], ["first 0.90", "second 0.80", "third 0.70"], empty)
    counts = [(drawn == class_color(index)).all(axis=2).sum() for index in range(3)]
    assert min(counts) > 250
    corner = draw(photo, [[390.0, 0, 400, 4]], [0], ["a very long name 0.99"], empty[:1])
    assert (corner == class_color(0)).all(axis=2)[:, :380].sum() > 250


@pytest.mark.parametrize("size", [(1, 1), (8, 3), (30, 500)])
def test_any_size(size: tuple[int, int]) -> None:
    photo = Image.new("RGB", size, (5, 5, 5))
    drawn = draw(photo, [[0.0, 0, size[0], size[1]]], [0], ["train 1.00"])
    assert drawn.shape == (size[1], size[0], 3)


def test_lines_and_text_grow_with_the_photo() -> None:
    small, large = (Style.of(Image.new("RGB", (side, side))) for side in (500, 4000))
    assert large.line > 5 * small.line
    assert large.text > 5 * small.text


def test_masks_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"masks of \(3, 3\) do not fit a photo of \(4, 5\)"):
        draw(Image.new("RGB", (5, 4)), [[0.0, 0, 1, 1]], [0], ["a"], np.zeros((1, 3, 3), dtype=bool))
