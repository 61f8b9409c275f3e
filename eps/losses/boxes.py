"""YOLACT's box and class terms."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor


def box_loss(offsets: Float[Tensor, "p 4"], targets: Float[Tensor, "p 4"]) -> Float[Tensor, ""]:
    """Smooth L1 between the predicted and the encoded offsets of the positive anchors, summed.

    Source: SSD equation 2, which YOLACT section 3.2 keeps as L_box.
    """
    return F.smooth_l1_loss(offsets, targets, reduction="sum")


def confidence_loss(
    logits: Float[Tensor, "b n c"], classes: Integer[Tensor, "b n"], *, negatives_per_positive: int = 3
) -> Float[Tensor, ""]:
    """Softmax cross-entropy, summed over the positive anchors and each image's hardest negatives.

    Logits have the background first; classes are -1 neutral (counts nowhere), 0 background, c + 1 foreground.
    An image without a positive adds nothing.
    Source: SSD equation 3 and section 2.2 (hard negative mining), which YOLACT section 3.2 keeps as L_cls.
    """
    chosen = (classes > 0) | hardest_negatives(logits, classes, negatives_per_positive=negatives_per_positive)
    photo, anchor = chosen.nonzero(as_tuple=True)  # once: a GPU is waited for
    return F.cross_entropy(logits[photo, anchor], classes[photo, anchor].long(), reduction="sum")


@torch.no_grad()
def hardest_negatives(
    logits: Float[Tensor, "b n c"], classes: Integer[Tensor, "b n"], *, negatives_per_positive: int
) -> Bool[Tensor, "b n"]:
    """The background anchors that look least like background: in each image so many for every positive, or all.

    Arguments as for `confidence_loss`.
    Source: SSD section 2.2, ranked by -log p(background).
    """
    background = classes == 0
    hardness = (logits.logsumexp(dim=2) - logits[:, :, 0]).masked_fill(~background, -torch.inf)
    rank = hardness.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    wanted = negatives_per_positive * (classes > 0).sum(dim=1, keepdim=True)
    return background & (rank < wanted)
