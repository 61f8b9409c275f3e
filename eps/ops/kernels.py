"""Triton kernels for CUDA: planes are enlarged, and written as they are wanted, without a plane of floats between.

A program makes one tile of the photo. It reads the part of the planes that the tile draws on, turns it into
probabilities, enlarges it in registers and writes the result once. Only `eps.ops.assembly` imports this module: Triton
is there on Linux alone.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

_TALL, _WIDE = 32, 128
"""A tile of the photo: whole cache lines of bytes, and enough of them that neighbours share few source pixels."""
_MOST_ROWS, _MOST_COLUMNS = 32, 64
"""Its source in the planes fits into registers."""


def fused_masks(
    prototypes: Float[Tensor, "k h w"],
    coefficients: Float[Tensor, "n k"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: tuple[int, int],
    padding: float = 1.0,
) -> Bool[Tensor, "n height width"]:
    """What `eps.ops.masks.instance_masks` gives, in float32, by one kernel that writes bytes.

    Tiles that a box does not reach are filled with zeros and read nothing. Source: YOLACT equation 1 and section 3.3.
    """
    masks = torch.empty((len(boxes), *size), dtype=torch.uint8, device=prototypes.device)
    tensors = (prototypes, coefficients.float(), boxes.float(), masks)
    _launch(_masks_kernel, tensors, (*prototypes.shape, *size, padding), planes=prototypes.shape[1:], size=size)
    return masks.view(torch.bool)


def fused_labels(maps: Float[Tensor, "b c1 h w"], *, size: tuple[int, int]) -> UInt8[Tensor, "b height width"]:
    """What `eps.ops.localization.best_labels` gives, by one kernel: enlarged logits are compared and never written."""
    labels = torch.empty((len(maps), *size), dtype=torch.uint8, device=maps.device)
    _launch(_labels_kernel, (maps, labels), (*maps.shape[1:], *size), planes=maps.shape[2:], size=size)
    return labels


def fused_shares(maps: Float[Tensor, "b c1 h w"], *, size: tuple[int, int]) -> Float[Tensor, "b c height width"]:
    """Softmax over all maps, the last one (background) dropped, then enlarged: EPS's localization maps by one kernel.

    See `eps.ops.localization.localization_maps`.
    """
    shares = torch.empty((len(maps), maps.shape[1] - 1, *size), dtype=torch.float32, device=maps.device)
    _launch(_shares_kernel, (maps, shares), (*maps.shape[1:], *size), planes=maps.shape[2:], size=size)
    return shares


class _Tiling(NamedTuple):
    grid: tuple[int, int]
    scales: tuple[float, float]
    """Plane pixels per photo pixel, down and across."""
    tall: int
    wide: int
    rows: int
    columns: int

    def options(self) -> dict[str, int]:
        """The sizes that a kernel is compiled for, and how."""
        sizes = {"ROWS": self.rows, "COLUMNS": self.columns, "TALL": self.tall, "WIDE": self.wide}
        return {**sizes, "enable_fp_fusion": True}  # or Triton 3.9 warns that its default will change


def _launch(
    kernel: Any,
    tensors: Sequence[Tensor],
    numbers: Sequence[int | float],
    *,
    planes: Sequence[int],
    size: tuple[int, int],
) -> None:
    """Run a kernel over all tiles of all masks or images; the last of the tensors is where it writes."""
    if tensors[-1].numel():
        tiling = _tiling((planes[0], planes[1]), size)
        with torch.cuda.device_of(tensors[-1]):  # type: ignore[no-untyped-call]
            kernel[(len(tensors[-1]), *tiling.grid)](
                *(tensor.contiguous() for tensor in tensors), *numbers, *tiling.scales, **tiling.options()
            )


def _tiling(planes: tuple[int, int], photo: tuple[int, int]) -> _Tiling:
    tall, rows = _tile(planes[0], photo[0], tile=_TALL, most=_MOST_ROWS)
    wide, columns = _tile(planes[1], photo[1], tile=_WIDE, most=_MOST_COLUMNS)
    grid = (triton.cdiv(photo[0], tall), triton.cdiv(photo[1], wide))
    return _Tiling(grid, (planes[0] / photo[0], planes[1] / photo[1]), tall, wide, rows, columns)


def _tile(planes: int, photo: int, *, tile: int, most: int) -> tuple[int, int]:
    """Pixels of a tile along one axis, and how many of the planes' they draw on, both powers of two."""
    tile = min(tile, triton.next_power_of_2(photo))
    while tile > 1 and _reach(planes, photo, tile) > most:
        tile //= 2
    return tile, triton.next_power_of_2(_reach(planes, photo, tile))


def _reach(planes: int, photo: int, tile: int) -> int:
    """At most so many neighbouring pixels of the planes does a tile draw on, rounding of coordinates included."""
    return planes * (tile - 1) // photo + 3


@triton.jit
@no_type_check
def _sources(begin, planes, scale, COUNT: tl.constexpr):
    """Photo pixels from `begin` on, the first of the planes' pixels, and those before and after each, from that one."""
    index = begin + tl.arange(0, COUNT)
    start = tl.maximum((begin + 0.5) * scale - 0.5, 0.0)
    first = tl.minimum(start.to(tl.int32), planes - 1)
    source = tl.maximum((index + 0.5) * scale - 0.5, 0.0)
    before = tl.minimum(source.to(tl.int32), planes - 1)
    after = tl.minimum(before + 1, planes - 1)
    return index, first, before - first, after - first, tl.minimum(source - before, 1.0)


@triton.jit
@no_type_check
def _enlarged(
    plane,
    above,
    below,
    down,
    left,
    right,
    across,
    ROWS: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Bilinear, along rows and then along columns."""
    first = tl.gather(plane, tl.broadcast_to(left[None, :], (ROWS, WIDE)), 1)
    second = tl.gather(plane, tl.broadcast_to(right[None, :], (ROWS, WIDE)), 1)
    wide = first + (second - first) * across[None, :]
    upper = tl.gather(wide, tl.broadcast_to(above[:, None], (TALL, WIDE)), 0)
    lower = tl.gather(wide, tl.broadcast_to(below[:, None], (TALL, WIDE)), 0)
    return upper + (lower - upper) * down[:, None]


@triton.jit
@no_type_check
def _masks_kernel(
    prototypes,
    coefficients,
    boxes,
    masks,
    k,
    h,
    w,
    height,
    width,
    padding,
    scale_down,
    scale_across,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
):
    n = tl.program_id(0)
    y, row, above, below, down = _sources(tl.program_id(1) * TALL, h, scale_down, TALL)
    x, column, left, right, across = _sources(tl.program_id(2) * WIDE, w, scale_across, WIDE)
    x1 = tl.load(boxes + 4 * n) * w - padding
    y1 = tl.load(boxes + 4 * n + 1) * h - padding
    x2 = tl.load(boxes + 4 * n + 2) * w + padding
    y2 = tl.load(boxes + 4 * n + 3) * h + padding
    target = masks + n.to(tl.int64) * height * width + (y[:, None] * width + x[None, :])
    inside_photo = (y[:, None] < height) & (x[None, :] < width)
    if (row + ROWS > y1) & (row < y2) & (column + COLUMNS > x1) & (column < x2):
        rows, columns = row + tl.arange(0, ROWS), column + tl.arange(0, COLUMNS)
        inside_rows = (rows >= y1) & (rows < y2) & (rows < h)
        inside_columns = (columns >= x1) & (columns < x2) & (columns < w)
        inside = inside_rows[:, None] & inside_columns[None, :]
        source = prototypes + (rows[:, None] * w + columns[None, :])
        logits = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
        for plane in range(k):
            weight = tl.load(coefficients + n * k + plane)
            logits += weight * tl.load(source + plane * h * w, mask=inside, other=0.0).to(tl.float32)
        cropped = tl.where(inside, 1 / (1 + tl.exp(-logits)), 0.0)
        values = _enlarged(cropped, above, below, down, left, right, across, ROWS, TALL, WIDE)
        tl.store(target, (values > 0.5).to(tl.uint8), mask=inside_photo)
    else:
        tl.store(target, tl.full((TALL, WIDE), 0, tl.uint8), mask=inside_photo)


@triton.jit
@no_type_check
def _labels_kernel(
    maps,
    labels,
    channels,
    h,
    w,
    height,
    width,
    scale_down,
    scale_across,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    y, row, above, below, down = _sources(tl.program_id(1) * TALL, h, scale_down, TALL)
    x, column, left, right, across = _sources(tl.program_id(2) * WIDE, w, scale_across, WIDE)
    rows, columns = row + tl.arange(0, ROWS), column + tl.arange(0, COLUMNS)
    inside = (rows[:, None] < h) & (columns[None, :] < w)
    source = maps + n * channels * h * w + (rows[:, None] * w + columns[None, :])
    best = tl.full((TALL, WIDE), float("-inf"), tl.float32)
    label = tl.full((TALL, WIDE), 0, tl.int32)
    for channel in range(channels):
        plane = tl.load(source + channel * h * w, mask=inside, other=0.0).to(tl.float32)
        values = _enlarged(plane, above, below, down, left, right, across, ROWS, TALL, WIDE)
        label = tl.where(values > best, (channel + 1) % channels, label)
        best = tl.maximum(values, best)
    target = labels + n * height * width + (y[:, None] * width + x[None, :])
    tl.store(target, label.to(tl.uint8), mask=(y[:, None] < height) & (x[None, :] < width))


@triton.jit
@no_type_check
def _shares_kernel(
    maps,
    shares,
    channels,
    h,
    w,
    height,
    width,
    scale_down,
    scale_across,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    y, row, above, below, down = _sources(tl.program_id(1) * TALL, h, scale_down, TALL)
    x, column, left, right, across = _sources(tl.program_id(2) * WIDE, w, scale_across, WIDE)
    rows, columns = row + tl.arange(0, ROWS), column + tl.arange(0, COLUMNS)
    inside = (rows[:, None] < h) & (columns[None, :] < w)
    source = maps + n * channels * h * w + (rows[:, None] * w + columns[None, :])
    peak = tl.full((ROWS, COLUMNS), float("-inf"), tl.float32)
    total = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    for channel in range(channels):
        logits = tl.load(source + channel * h * w, mask=inside, other=0.0).to(tl.float32)
        higher = tl.maximum(peak, logits)
        total = total * tl.exp(peak - higher) + tl.exp(logits - higher)
        peak = higher
    target = shares + n * (channels - 1) * height * width + (y[:, None] * width + x[None, :])
    inside_photo = (y[:, None] < height) & (x[None, :] < width)
    for channel in range(channels - 1):
        logits = tl.load(source + channel * h * w, mask=inside, other=0.0).to(tl.float32)
        share = tl.exp(logits - peak) / total
        values = _enlarged(share, above, below, down, left, right, across, ROWS, TALL, WIDE)
        tl.store(target, values, mask=inside_photo)
        target += height * width  # a pointer: the offset of a channel need not fit into 32 bits
