"""Image logits from maps, and the loss that holds them to a photo's tags."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional


def pooled_logits(
    maps: Float[Tensor, "b c h w"], weights: Float[Tensor, "b 1 hs ws"] | None = None, *, floor: float = 0.0
) -> Float[Tensor, "b c"]:
    """Average each map over the photo, plainly or weighted by saliency.

    `weights` are not negative, of any size, and brought to the maps' by the nearest pixel; `floor` is added to each,
    so that a missed object still counts. Weights that are zero on the whole photo give the plain average.
    Source: EPS for the plain average; the weighted one is beyond the paper (context is no evidence then).
    """
    if weights is None:
        return maps.mean(dim=(2, 3))
    weights = functional.interpolate(weights, size=maps.shape[-2:], mode="nearest") + floor
    total = weights.sum(dim=(2, 3), keepdim=True)
    weights = torch.where(total > 0, weights, 1.0)
    return (maps * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3))


def tag_loss(logits: Float[Tensor, "b c"], labels: Shaped[Tensor, "b c"]) -> Float[Tensor, ""]:
    """Multi-label soft margin loss, averaged over classes and photos; a label is 1 for a tag of the photo, else 0.

    Source: EPS, the classification loss.
    """
    return functional.multilabel_soft_margin_loss(logits, labels.to(logits.dtype))
