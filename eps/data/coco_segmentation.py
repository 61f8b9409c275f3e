"""Outlines of COCO's format, polygons or run lengths, as pycocotools takes them, checked first: it checks nothing."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask

from eps.data.images import MAX_PIXELS


def has_outline(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation has a segmentation: without one, or with an empty list, it tells of a box alone."""
    return annotation.get("segmentation") not in (None, [])


def box_of(annotation: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """x, y, width and height, the last two above 0; None where there is no such box."""
    box = annotation.get("bbox")
    if not isinstance(box, list | tuple) or len(box) != 4 or any(isinstance(side, bool) for side in box):
        return None
    if not all(isinstance(side, int | float) and math.isfinite(side) for side in box) or min(box[2:]) <= 0:
        return None
    x, y, width, height = (float(side) for side in box)
    return x, y, width, height


def box_region(annotation: Mapping[str, Any], *, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Every pixel of a photo that an annotation's box touches; none where it has no box."""
    region = np.zeros((height, width), dtype=bool)
    box = box_of(annotation)
    if box is not None:
        x, y, w, h = box
        rows = slice(max(0, math.floor(y)), max(0, math.ceil(y + h)))
        region[rows, max(0, math.floor(x)) : max(0, math.ceil(x + w))] = True
    return region


def checked_segmentation(segmentation: Any, *, height: int, width: int) -> Any | None:
    """Run lengths of polygons, or of run lengths, compressed or not; None for a list without polygons.

    Raises KeyError, TypeError, ValueError or OverflowError for anything else, and for photos larger than any.
    """
    if not 0 <= height * width <= MAX_PIXELS:  # a few run lengths can make up any size
        raise ValueError(f"a photo of {height} x {width} pixels")
    if not isinstance(segmentation, list):
        return coco_mask.frPyObjects(_run_lengths(segmentation, height, width), height, width)
    if not segmentation:
        return None
    for polygon in segmentation:
        _check_polygon(polygon, height, width)
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def _check_polygon(polygon: Any, height: int, width: int) -> None:
    """What pycocotools takes on trust: pairs of numbers, three of them or more, near the photo."""
    points = np.array(polygon, dtype=np.float64)
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        raise ValueError(f"a polygon needs three points or more, x and y each, not {len(points)} numbers")
    if not np.isfinite(points).all():
        raise ValueError("a polygon has numbers that are not finite")
    far = 2 * max(height, width)
    if not (np.abs(points) <= far).all():
        raise ValueError("a polygon leaves the photo far behind")


def _run_lengths(segmentation: Any, height: int, width: int) -> dict[str, list[int]]:
    """Uncompressed run lengths that do make up the photo: where they do not, pycocotools shows what was in memory."""
    size, counts = list(segmentation["size"]), segmentation["counts"]
    wrong = []
    if size != [height, width]:
        wrong.append(f"run lengths of size {size} for a photo of {[height, width]}")
    if isinstance(counts, str) and not all(48 <= ord(character) < 112 for character in counts):
        wrong.append("counts with characters that no run lengths have")
    if wrong:
        raise ValueError("; ".join(wrong))
    runs = _uncompressed(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError("run lengths that do not make up the photo")
    return {"size": size, "counts": runs}


def _uncompressed(text: str) -> list[int]:
    """COCO's run lengths as text: 5 bits a character, lowest first; from the fourth on less the last but one."""
    runs: list[int] = []
    number = shift = 0
    for bits in (code - 48 for code in text.encode("ascii")):
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # no more to come
            number -= (bits >> 4 & 1) << shift  # the sign
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    return runs
