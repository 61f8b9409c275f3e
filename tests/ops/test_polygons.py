"""Outlines against COCO's own way from polygons to masks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from scipy import ndimage

from eps.ops.polygons import joined, polygons, simplified


def filled(outlines: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    rings = [outline.ravel().tolist() for outline in outlines]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, *size))).astype(bool)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / max((one | other).sum(), 1)


def test_a_square() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:4, 2:6] = True
    [outline] = polygons(mask)
    assert outline.min(axis=0).tolist() == [2, 1]
    assert outline.max(axis=0).tolist() == [6, 4]
    assert not np.array_equal(outline[0], outline[-1])


def test_nothing() -> None:
    assert polygons(np.zeros((4, 5), dtype=bool)) == []
    assert polygons(np.zeros((0, 0), dtype=bool)) == []


def test_one_pixel_and_a_full_mask() -> None:
    pixel = np.zeros((3, 3), dtype=bool)
    pixel[2, 0] = True
    [outline] = polygons(pixel)
    assert outline.mean(axis=0).tolist() == [0.5, 2.5]
    assert iou(filled(polygons(np.ones((5, 7), dtype=bool)), (5, 7)), np.ones((5, 7), dtype=bool)) == 1


def test_parts_are_apart_and_holes_are_filled() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[1:9, 1:9] = True
    mask[12:19, 3:18] = True
    mask[14:16, 6:12] = False
    outlines = polygons(mask)
    assert len(outlines) == 2
    assert iou(filled(outlines, mask.shape), ndimage.binary_fill_holes(mask)) > 0.95


@settings(max_examples=40, deadline=None)
@given(arrays(bool, st.tuples(st.integers(2, 5), st.integers(2, 5))))
def test_back_to_the_mask(small: np.ndarray) -> None:
    """Of blobs that are more than a few pixels wide; COCO's rasterisation itself is off by a pixel at corners."""
    mask = ndimage.binary_fill_holes(np.kron(small, np.ones((12, 12), dtype=bool)))
    if mask.any():
        assert iou(filled(polygons(mask), mask.shape), mask) > 0.93


def distance(point: np.ndarray, outline: np.ndarray) -> float:
    """From the nearest of many points of an outline's edges."""
    shares = np.linspace(0, 1, 201)[:, None]
    pairs = zip(outline, np.roll(outline, -1, axis=0), strict=True)
    return min(np.linalg.norm(point - (a + shares * (b - a)), axis=1).min() for a, b in pairs)


def area(outline: np.ndarray) -> float:
    x, y = outline.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@given(arrays(bool, (12, 16)), st.sampled_from([0.3, 0.5, 1.5]))
@settings(max_examples=25, deadline=None)
def test_corners_that_are_left_out_are_near(mask: np.ndarray, tolerance: float) -> None:
    for outline in polygons(ndimage.binary_closing(mask)):
        fewer = simplified(outline, tolerance=tolerance)
        assert 3 <= len(fewer) <= len(outline)
        assert {*map(tuple, fewer)} <= {*map(tuple, outline)}
        if len(fewer) > 3:
            assert max(distance(corner, fewer) for corner in outline) <= tolerance + 0.05


def test_a_straight_edge_has_two_corners() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[3:17, 5:25] = True
    [outline] = polygons(mask)
    assert len(outline) > 40
    fewer = simplified(outline, tolerance=0.5)
    assert len(fewer) <= 8
    assert iou(filled([fewer], mask.shape), mask) > 0.95
    assert simplified(outline, tolerance=0.0) is outline
    assert len(simplified(outline[:3], tolerance=9.0)) == 3
    assert len(simplified(outline, tolerance=1e9)) >= 3


def test_parts_are_joined_by_what_encloses_nothing() -> None:
    mask = np.zeros((30, 40), dtype=bool)
    for top, left in ((2, 3), (3, 25), (18, 12)):
        mask[top : top + 9, left : left + 10] = True
    parts = polygons(mask)
    assert len(parts) == 3
    whole = joined(parts)
    assert area(whole) == sum(map(area, parts))
    assert {*map(tuple, whole)} == {tuple(corner) for part in parts for corner in part}
    assert iou(filled([whole], mask.shape), mask) > 0.95
    assert joined(parts[:1]) is parts[0]
