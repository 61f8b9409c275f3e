"""Outlines of COCO's format, polygons or run lengths, as pycocotools takes them, checked first: it checks nothing."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def checked_segmentation(segmentation: Any, *, height: int, width: int) -> Any | None:
    """Run lengths of polygons, or of run lengths, compressed or not; None for a list without polygons.

    Raises KeyError, TypeError, ValueError or OverflowError for anything else.
    """
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
    far = 2 * max(height, width)
    if not (np.abs(points) <= far).all():
        raise ValueError("a polygon leaves the photo far behind")


def _run_lengths(segmentation: Any, height: int, width: int) -> dict[str, list[int]]:
    """Uncompressed run lengths that do make up the photo: where they do not, pycocotools shows what was in memory."""
    size, counts = list(segmentation["size"]), segmentation["counts"]
    if size != [height, width]:
        raise ValueError(f"run lengths of size {size} for a photo of {[height, width]}")
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
