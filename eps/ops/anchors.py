"""The anchors of a feature pyramid."""

from collections.abc import Sequence
from itertools import product
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor


def anchors(
    *,
    grids: Sequence[tuple[int, int]],
    scales: Sequence[Sequence[float]],
    ratios: Sequence[float],
    size: tuple[int, int],
    square: bool = False,
) -> Float[Tensor, "n 4"]:
    """All anchors of a pyramid as (cx, cy, w, h) relative to the image, ordered by level, row, column, scale, ratio.

    `grids` are the levels' (rows, columns), `scales` each level's anchor sizes in pixels, `ratios` width over height,
    `size` the network's input as (height, width) in pixels. `square` gives every anchor the height of its width, as
    the released YOLACT models of v1 do. The result is float32 on the CPU.
    Raises ValueError where the numbers of grids and of scale lists differ.
    Source: YOLACT section 4 (backbone detector); SSD section 2.2.
    """
    levels = [
        _level(grid, _shapes(sizes, ratios, size=size, square=square))
        for grid, sizes in zip(grids, scales, strict=True)
    ]
    return torch.cat(levels).float()


def _shapes(
    scales: Sequence[float], ratios: Sequence[float], *, size: tuple[int, int], square: bool
) -> Float[Tensor, "a 2"]:
    """Relative (w, h) of the anchors at one position."""
    height, width = size
    shapes = []
    for scale, ratio in product(scales, ratios):
        w = scale * sqrt(ratio) / width
        shapes.append((w, w if square else scale / sqrt(ratio) / height))
    return torch.tensor(shapes, dtype=torch.float64)


def _level(grid: tuple[int, int], shapes: Float[Tensor, "a 2"]) -> Float[Tensor, "n 4"]:
    """The anchors of one level: every shape at the middle of every cell."""
    rows, columns = grid
    y = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    x = (torch.arange(columns, dtype=torch.float64) + 0.5) / columns
    cy, cx = torch.meshgrid(y, x, indexing="ij")
    centers = torch.stack([cx, cy], dim=-1).reshape(-1, 1, 2)
    cells, kinds = len(centers), len(shapes)
    return torch.cat([centers.expand(-1, kinds, -1), shapes.expand(cells, -1, -1)], dim=-1).reshape(-1, 4)
