import base64
import io

import numpy as np
import pytest
from PIL import Image

from eps.data.palette import class_color
from eps.report_page.pictures import (
    SIDE,
    class_chip,
    paint_instances,
    paint_labels,
    paint_logits,
    paint_map,
    paint_plane,
    show,
)

GREY = Image.new("RGB", (64, 64), (120, 120, 120))


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,"))))


@pytest.mark.parametrize(("size", "shown"), [((64, 64), (320, 320)), ((1000, 500), (320, 160)), ((1, 900), (1, 320))])
def test_a_picture_is_of_the_pages_size_whatever_the_photos(size: tuple[int, int], shown: tuple[int, int]) -> None:
    picture = show(Image.new("RGB", size), alt="a", caption="b")
    assert decoded(picture.uri).size == shown
    assert (picture.alt, picture.caption, picture.chips) == ("a", "b", ())


def test_a_grey_map_can_be_shown() -> None:
    picture = show(Image.fromarray(np.full((8, 8), 200, dtype=np.uint8)), alt="", caption="")
    assert np.abs(np.asarray(decoded(picture.uri).convert("RGB")).astype(int) - 200).max() < 4


def test_twenty_classes_differ_in_colour_and_then_they_repeat() -> None:
    assert len({class_color(index) for index in range(20)}) == 20
    assert class_color(23) == class_color(3)
    red, green, blue = class_color(3)
    assert class_chip(3, "car 0.9") == ("car 0.9", f"#{red:02x}{green:02x}{blue:02x}")


def test_labels_are_painted_where_they_are_and_nowhere_else() -> None:
    labels = np.zeros((64, 64), dtype=np.uint8)
    labels[:, :32] = 3
    bare = np.asarray(paint_labels(GREY, np.zeros_like(labels)))
    painted = np.asarray(paint_labels(GREY, labels))
    assert painted.shape == (SIDE, SIDE, 3)
    assert (painted[:, 160:] == bare[:, 160:]).all()
    assert (painted[:, 159] == class_color(2)).all(), "the rim has the full colour"
    inside = painted[160, 75].astype(int)
    assert (inside != bare[160, 75]).any()
    assert (inside != class_color(2)).any(), "the photo is seen through"


def test_labels_may_be_painted_at_another_size() -> None:
    labels = np.zeros((64, 64), dtype=np.uint8)
    labels[:, :32] = 3
    painted = np.asarray(paint_labels(GREY, labels, side=64))
    assert painted.shape == (64, 64, 3)
    assert (painted[:, 31] == class_color(2)).all()


def test_a_map_leaves_the_photo_grey_where_it_is_zero_and_is_yellow_where_it_is_one() -> None:
    values = np.zeros((64, 64), dtype=np.float32)
    values[:, 32:] = 1
    painted = np.asarray(paint_map(GREY, values, side=64)).astype(int)
    bare = np.asarray(paint_labels(GREY, np.zeros((64, 64), dtype=np.uint8), side=64))
    assert (painted[:, :31] == bare[:, :31]).all()
    red, green, blue = painted[0, -1]
    assert min(red, green) > blue + 50
    assert paint_map(GREY, values).size == (SIDE, SIDE)


def test_ignored_pixels_are_hatched() -> None:
    painted = np.asarray(paint_labels(GREY, np.full((64, 64), 255, dtype=np.uint8)))
    bare = np.asarray(paint_labels(GREY, np.zeros((64, 64), dtype=np.uint8)))
    changed = (painted != bare).any(axis=2)
    assert changed.mean() == pytest.approx(0.5)


def test_instances_of_one_class_keep_their_outlines_apart() -> None:
    masks = np.zeros((2, 64, 64), dtype=bool)
    masks[0, 10:50, 5:32] = masks[1, 10:50, 32:60] = True
    painted = np.asarray(paint_instances(GREY, masks, np.array([1, 1])))
    assert (painted[150, 159] == class_color(1)).all()
    assert (painted[150, 160] == class_color(1)).all()
    assert (painted[150, 125] != class_color(1)).any()


def test_boxes_are_scaled_with_the_photo() -> None:
    masks, box = np.zeros((1, 64, 64), dtype=bool), np.array([[16.0, 8.0, 48.0, 40.0]])
    painted = np.asarray(paint_instances(GREY, masks, np.array([0]), box))
    rows, columns = np.nonzero((painted == class_color(0)).all(axis=2))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (80, 40, 240, 200)


def test_no_instances_leave_the_photo() -> None:
    none = np.zeros((0, 64, 64), dtype=bool)
    empty = np.zeros(0, dtype=np.int64)
    bare = paint_labels(GREY, np.zeros((64, 64), dtype=np.uint8))
    assert paint_instances(GREY, none, empty, np.zeros((0, 4))) == bare
    assert paint_instances(GREY, none, empty) == bare


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        paint_labels(GREY, np.zeros((32, 64), dtype=np.uint8))


def test_planes_go_from_dark_to_light() -> None:
    painted = np.asarray(paint_plane(np.array([[0.0, 5.0]]))).astype(int).sum(axis=2)
    assert painted[0, 0] < painted[0, -1]
    flat = np.asarray(paint_plane(np.zeros((4, 4))))
    assert (flat == flat[0, 0]).all()


def test_logits_are_red_above_zero_and_blue_below() -> None:
    painted = np.asarray(paint_logits(np.array([[-9.0, -4.0, 4.0, 9.0]]))).astype(int)[0, ::80]
    assert (painted[0] == painted[1]).all()
    assert (painted[2] == painted[3]).all()
    assert painted[0, 2] > painted[0, 0]
    assert painted[3, 0] > painted[3, 2]
