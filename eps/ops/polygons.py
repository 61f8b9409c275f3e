"""Outlines of masks."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from contourpy import FillType, contour_generator
from jaxtyping import Bool, Float

from eps.ops.extents import extent


def polygons(mask: Bool[np.ndarray, "h w"]) -> list[Float[np.ndarray, "p 2"]]:
    """The outlines of a mask's parts as corners x, y in pixels, pixel (0, 0) reaching from 0 to 1; holes are filled.

    An outline runs through the middle between the centres of the last pixels inside and the first ones outside. The
    first corner is not repeated. None where the mask is empty.
    """
    left, top, right, bottom = extent(mask)
    if not right:
        return []
    cut = np.pad(mask[top:bottom, left:right], 1).astype(np.float32)
    found = contour_generator(z=cut, fill_type=FillType.OuterOffset).filled(0.5, np.inf)
    parts, offsets = cast(tuple[list[np.ndarray], list[np.ndarray]], found)  # what OuterOffset gives
    first_centre = np.array([left - 0.5, top - 0.5])  # of the padding's first pixel
    pairs = zip(parts, offsets, strict=True)
    return [np.asarray(part[: ends[1] - 1] + first_centre) for part, ends in pairs]


def simplified(outline: Float[np.ndarray, "p 2"], *, tolerance: float) -> Float[np.ndarray, "q 2"]:
    """A closed outline with fewer corners, three at least: those left out lie within `tolerance` pixels of its edges.

    Source: Ramer, 1972; Douglas and Peucker, 1973.
    """
    if len(outline) < 4 or tolerance <= 0:
        return outline
    far = int(np.square(outline - outline[0]).sum(axis=1).argmax())
    ring = np.concatenate([outline, outline[:1]])
    kept = np.isin(np.arange(len(ring)), (0, far))
    spans = [(0, far), (far, len(outline))]
    while spans:
        first, last = spans.pop()
        distances = _distances(ring[first + 1 : last], ring[first], ring[last])
        if len(distances) and distances.max() > tolerance:
            middle = first + 1 + int(distances.argmax())
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    found: np.ndarray = outline[kept[:-1]]
    return found if len(found) >= 3 else outline


def joined(parts: Sequence[Float[np.ndarray, "_p 2"]]) -> Float[np.ndarray, "q 2"]:
    """One closed outline of one or more: over to each further part and back the same way, which encloses nothing."""
    whole: np.ndarray = parts[0]
    for part in parts[1:]:
        gaps = np.square(whole[:, None] - part[None]).sum(axis=2)
        here, there = np.unravel_index(gaps.argmin(), gaps.shape)
        around = np.concatenate([part[there:], part[: there + 1]])
        whole = np.concatenate([whole[: here + 1], around, whole[here:]])
    return whole


def _distances(
    points: Float[np.ndarray, "p 2"], start: Float[np.ndarray, " 2"], end: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, " p"]:
    """Of points from the line between two others, which ends there."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    gaps: np.ndarray = np.linalg.norm(points - (start + share[:, None] * along), axis=1)
    return gaps
