"""Explicit Pseudo-pixel Supervision: the localization maps must explain the saliency map."""

from typing import NamedTuple, SupportsFloat

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional


class EPSLoss(NamedTuple):
    """The loss and what it was made of, at the size of the maps.

    `background` is the paper's inverted background map, 1 - M_bg: close to 1 on the foreground.
    """

    loss: Float[Tensor, ""]
    foreground: Float[Tensor, "b 1 h w"]
    background: Float[Tensor, "b 1 h w"]
    estimate: Float[Tensor, "b 1 h w"]


def eps_loss(
    maps: Float[Tensor, "b m h w"],
    saliency: Float[Tensor, "b 1 hs ws"],
    labels: Shaped[Tensor, "b c"],
    *,
    tau: SupportsFloat,
    lam: SupportsFloat,
    select_all: bool = False,
) -> EPSLoss:
    """Mean squared error between a saliency map and its estimate from the localization maps.

    `maps` are logits of m = c + 1 maps, background last; `saliency` is in 0..1 and is brought to the maps' size by the
    nearest pixel; a label that is not zero is a tag of the photo, and a photo may have none. A present map whose
    overlap with saliency does not exceed `tau` explains the background; `select_all` takes every present map as
    foreground instead (beyond the paper, for a start that does not lock onto context). Raises ValueError where m is
    not c + 1. Source: EPS (Lee et al., CVPR 2021), the saliency loss with map selection by tau and lambda.
    """
    if maps.shape[1] != labels.shape[1] + 1:
        raise ValueError(f"{labels.shape[1]} labels need {labels.shape[1] + 1} maps, not {maps.shape[1]}")
    saliency = functional.interpolate(saliency, size=maps.shape[-2:], mode="nearest")
    probabilities = maps.softmax(dim=1)
    objects, background = probabilities[:, :-1], probabilities[:, -1:]

    present = labels != 0
    chosen = present if select_all else present & _explains_saliency(objects.detach(), saliency, float(tau))
    foreground = _sum_of(objects, chosen)
    inverted = 1 - (background + _sum_of(objects, present & ~chosen))
    share = float(lam)
    estimate = share * foreground + (1 - share) * inverted
    return EPSLoss(functional.mse_loss(estimate, saliency), foreground, inverted, estimate)


def _explains_saliency(
    objects: Float[Tensor, "b c h w"], saliency: Float[Tensor, "b 1 h w"], tau: float
) -> Bool[Tensor, "b c"]:
    """Which maps lie on salient pixels by more than the share tau of their area (EPS, map selection)."""
    rounded = objects.round()
    overlap = (rounded * saliency.round()).sum(dim=(2, 3)) / (rounded + 1e-4).sum(dim=(2, 3))
    return overlap > tau


def _sum_of(objects: Float[Tensor, "b c h w"], chosen: Bool[Tensor, "b c"]) -> Float[Tensor, "b 1 h w"]:
    # no matrix product: autocast would compute it in half precision
    return (objects * chosen[:, :, None, None]).sum(dim=1, keepdim=True)


def saliency_likelihood(
    maps: Float[Tensor, "b m h w"], saliency: Float[Tensor, "b 1 hs ws"], labels: Shaped[Tensor, "b c"]
) -> Float[Tensor, ""]:
    """Negative log likelihood of a saliency map, whose value is the probability that a pixel shows a tagged class.

    -(S log sum_present p_c + (1 - S) log p_background), averaged over the saliency map's pixels, to whose size the maps
    are brought bilinearly; inputs as for `eps_loss`. Where `eps_loss` compares probabilities, whose gradient dies as
    the softmax saturates, this compares their logarithms, and it holds the absent classes down on every pixel. Salient
    pixels of a photo without any tag are left out: they are no known class, nor need they be background. Raises
    ValueError where m is not c + 1. Source: beyond the paper (marginal likelihood of partial labels).
    """
    if maps.shape[1] != labels.shape[1] + 1:
        raise ValueError(f"{labels.shape[1]} labels need {labels.shape[1] + 1} maps, not {maps.shape[1]}")
    maps = functional.interpolate(maps, size=saliency.shape[-2:], mode="bilinear", align_corners=False)
    log_probabilities = maps.log_softmax(dim=1)
    present = (labels != 0)[:, :, None, None]
    tagged = present.any(dim=1, keepdim=True)
    # a finite fill: -inf would give a gradient of nan where no class is present
    objects = log_probabilities[:, :-1].masked_fill(~present, -1e4).logsumexp(dim=1, keepdim=True)
    explained = torch.where(tagged, saliency * objects, 0.0)
    return -(explained + (1 - saliency) * log_probabilities[:, -1:]).mean()
