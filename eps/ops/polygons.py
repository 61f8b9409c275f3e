"""Outlines of masks."""

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
