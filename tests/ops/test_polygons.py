"""Outlines against COCO's own way from polygons to masks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from scipy import ndimage

from eps.ops.polygons import polygons


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
