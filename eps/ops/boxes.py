"""Box geometry: the two ways to write a box, YOLACT's regression targets, and coverage."""

import torch
from jaxtyping import Float
from torch import Tensor

# A truth without area still gets a finite target: log of a size never sees zero.
_SMALLEST = 1e-6


def center_to_corner(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Rewrite boxes (cx, cy, w, h) as (x1, y1, x2, y2), in whatever unit they have."""
    center, size = boxes.chunk(2, dim=-1)
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def corner_to_center(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Rewrite boxes (x1, y1, x2, y2) as (cx, cy, w, h), in whatever unit they have."""
    top_left, bottom_right = boxes.chunk(2, dim=-1)
    return torch.cat([(top_left + bottom_right) / 2, bottom_right - top_left], dim=-1)


def encode(
    corners: Float[Tensor, "n 4"], anchors: Float[Tensor, "n 4"], *, variances: tuple[float, float] = (0.1, 0.2)
) -> Float[Tensor, "n 4"]:
    """Regression targets of the boxes `corners` (corner form), each relative to the anchor (centre form) of its row.

    A box without width or height counts as 1e-6 wide or high, so that the target stays finite.
    Source: SSD equation 2 with its variances, which YOLACT keeps.
    """
    center, size = corner_to_center(corners).chunk(2, dim=-1)
    anchor_center, anchor_size = anchors.chunk(2, dim=-1)
    shift = (center - anchor_center) / (anchor_size * variances[0])
    stretch = torch.log(size.clamp(min=_SMALLEST) / anchor_size) / variances[1]
    return torch.cat([shift, stretch], dim=-1)


def decode(
    offsets: Float[Tensor, "*b n 4"], anchors: Float[Tensor, "n 4"], *, variances: tuple[float, float] = (0.1, 0.2)
) -> Float[Tensor, "*b n 4"]:
    """The inverse of `encode`, for any number of leading batch dimensions: predicted offsets to boxes in corner form.

    Source: SSD equation 2 with its variances, which YOLACT keeps.
    """
    shift, stretch = offsets.chunk(2, dim=-1)
    anchor_center, anchor_size = anchors.chunk(2, dim=-1)
    center = anchor_center + shift * variances[0] * anchor_size
    size = anchor_size * torch.exp(stretch * variances[1])
    return center_to_corner(torch.cat([center, size], dim=-1))


def coverage(boxes: Float[Tensor, "n 4"], others: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """The share of each box's own area that each other box covers, in 0..1; both in corner form, `boxes` with area.

    Source: COCO's treatment of crowds, where a detection is excused by the share of it that a crowd covers.
    """
    top_left = torch.maximum(boxes[:, None, :2], others[:, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)
    return intersection / area[:, None]
