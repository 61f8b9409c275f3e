"""From prototypes and coefficients to instance masks in the photo."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from eps.ops.prototypes import assemble


def crop(masks: Float[Tensor, "n h w"], boxes: Float[Tensor, "n 4"], *, padding: float = 1.0) -> Float[Tensor, "n h w"]:
    """Set each mask to zero outside its box (corner form, relative), widened on each side by `padding` mask pixels.

    A pixel is inside if its index, a whole number, lies in [first, last) of the widened box, which is not rounded.
    Source: YOLACT section 3.3 (cropping masks).
    """
    height, width = masks.shape[-2:]
    x1, y1, x2, y2 = boxes[:, :, None].unbind(dim=1)
    columns = torch.arange(width, device=masks.device)
    rows = torch.arange(height, device=masks.device)
    in_columns = (columns >= x1 * width - padding) & (columns < x2 * width + padding)
    in_rows = (rows >= y1 * height - padding) & (rows < y2 * height + padding)
    return masks * (in_rows[:, :, None] & in_columns[:, None, :])


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
    masks = crop(assemble(prototypes[None], coefficients)[0].sigmoid(), boxes)
    return F.interpolate(masks[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] > 0.5


def pixel_boxes(boxes: Float[Tensor, "*n 4"], *, size: tuple[int, int]) -> Integer[Tensor, "*n 4"]:
    """Relative boxes (corner form) in whole pixels of a photo of `size` (height, width): clipped to it, truncated."""
    height, width = size
    limits = boxes.new_tensor([width, height, width, height])
    return (boxes * limits).clamp(min=torch.zeros_like(limits), max=limits).long()
