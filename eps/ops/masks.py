"""From prototypes and coefficients to instance masks in the photo."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from eps.ops.prototypes import assemble

_LARGEST = 2**24
"""So many values are enlarged at a time, where a mask is not larger by itself."""


def crop(masks: Float[Tensor, "n h w"], boxes: Float[Tensor, "n 4"], *, padding: float = 1.0) -> Float[Tensor, "n h w"]:
    """Set each mask to zero outside its box (corner form, relative), widened on each side by `padding` mask pixels.

    A pixel is inside if its index, a whole number, lies in [first, last) of the widened box, which is not rounded.
    Source: YOLACT section 3.3 (cropping masks).
    """
    height, width = masks.shape[-2:]
    in_columns = within(boxes[:, 0], boxes[:, 2], size=width, padding=padding)
    in_rows = within(boxes[:, 1], boxes[:, 3], size=height, padding=padding)
    return masks * (in_rows[:, :, None] & in_columns[:, None, :])


def within(
    low: Float[Tensor, " n"], high: Float[Tensor, " n"], *, size: int, padding: float = 1.0
) -> Bool[Tensor, "n size"]:
    """Which rows (or columns) of a mask with `size` of them are inside boxes from `low` to `high`: see `crop`."""
    index = torch.arange(size, device=low.device)
    return (index >= low[:, None] * size - padding) & (index < high[:, None] * size + padding)


def instance_masks(
    prototypes: Float[Tensor, "k h w"],
    coefficients: Float[Tensor, "n k"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: tuple[int, int],
) -> Bool[Tensor, "n height width"]:
    """Masks of the detections (boxes in corner form, relative) at the photo's `size` as (height, width).

    Prototypes are combined, squashed, cropped at their own resolution, enlarged bilinearly and cut at 0.5.
    Source: YOLACT equation 1 and section 3.3.
    """
    return enlarge(cropped_masks(prototypes, coefficients, boxes), size=size)


def cropped_masks(
    prototypes: Float[Tensor, "k h w"], coefficients: Float[Tensor, "n k"], boxes: Float[Tensor, "n 4"]
) -> Float[Tensor, "n h w"]:
    """Masks of the detections in 0..1 at the prototypes' resolution, zero outside their boxes.

    YOLACT++'s mask-IoU net rates them in this form. Source: YOLACT equation 1 and section 3.3.
    """
    return crop(assemble(prototypes[None], coefficients)[0].sigmoid(), boxes)


def enlarge(masks: Float[Tensor, "n h w"], *, size: tuple[int, int]) -> Bool[Tensor, "n height width"]:
    """Masks in 0..1 at the photo's `size` (height, width), bilinearly, then cut at 0.5 (YOLACT section 3.3).

    A few at a time: all of a large photo's at once would take four bytes a pixel and mask before the cut.
    """
    made = masks.new_zeros((len(masks), *size), dtype=torch.bool)
    few = max(1, _LARGEST // max(1, size[0] * size[1]))
    for start in range(0, len(masks), few):
        part = masks[start : start + few, None]
        made[start : start + few] = F.interpolate(part, size=size, mode="bilinear", align_corners=False)[:, 0] > 0.5
    return made


def pixel_boxes(boxes: Float[Tensor, "*n 4"], *, size: tuple[int, int]) -> Integer[Tensor, "*n 4"]:
    """Relative boxes (corner form) in whole pixels of a photo of `size` (height, width): clipped to it, truncated."""
    height, width = size
    limits = boxes.new_tensor([width, height, width, height])
    return (boxes * limits).clamp(min=torch.zeros_like(limits), max=limits).long()


def masked_share(boxes: Float[Tensor, "n 4"], mask: Bool[Tensor, "height width"]) -> Float[Tensor, " n"]:
    """The share of each box (corner form, relative) that a mask covers; a box outside the image has none.

    Boxes are rounded to whole pixels, at least one wide and high.
    """
    height, width = mask.shape
    total = F.pad(mask.double().cumsum(0).cumsum(1), (1, 0, 1, 0))  # float32 cannot count 2^24 pixels
    edges = boxes.new_tensor([width, height, width, height])
    corners = (boxes * edges).round().long()
    x1, y1 = corners[:, 0].clamp(0, width - 1), corners[:, 1].clamp(0, height - 1)
    x2, y2 = corners[:, 2].clamp(max=width).maximum(x1 + 1), corners[:, 3].clamp(max=height).maximum(y1 + 1)
    covered = total[y2, x2] - total[y1, x2] - total[y2, x1] + total[y1, x1]
    return (covered / ((x2 - x1) * (y2 - y1))).to(boxes.dtype)
