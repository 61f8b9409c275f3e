"""Annotated objects from masks and back."""

from typing import Any

import numpy as np
from jaxtyping import Bool

from eps.data.annotations.records import AnnotatedObject
from eps.data.coco_segmentation import checked_segmentation
from eps.ops.extents import extent
from eps.ops.polygons import polygons, simplified
from eps.ops.rle import decode_rle, encode_rle


def object_of(
    mask: Bool[np.ndarray, "h w"], label: str, *, crowd: bool = False, score: float | None = None
) -> AnnotatedObject:
    """An object of a mask that is not empty, with its box; the score of one that was predicted."""
    x1, y1, x2, y2 = map(float, extent(mask))
    return AnnotatedObject(
        label=label,
        segmentation=encode_rle(mask),
        box=(x1, y1, x2 - x1, y2 - y1),
        area=float(mask.sum()),
        crowd=crowd,
        facts={} if score is None else {"score": round(score, 6)},
    )


def mask_of(found: AnnotatedObject, *, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask of an object in a photo of `size` (height, width); empty where only its box is known."""
    rle: Any = None
    if found.segmentation is not None:
        rle = checked_segmentation(found.segmentation, height=size[0], width=size[1])
    return np.zeros(size, dtype=bool) if rle is None else decode_rle(rle)


def outlines_of(found: AnnotatedObject, *, size: tuple[int, int], tolerance: float) -> list[np.ndarray]:
    """The outlines of an object's parts, corners x, y in pixels, with few corners; holes are filled."""
    return [simplified(outline, tolerance=tolerance) for outline in polygons(mask_of(found, size=size))]
