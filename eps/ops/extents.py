"""Where in a photo a mask is."""

import numpy as np
from jaxtyping import Bool


def extent(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """The box around a mask in pixels (x1, y1, x2, y2), the last pixel's far edge included; all 0 for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
