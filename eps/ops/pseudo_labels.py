"""From scores per class to labels per pixel, without any truth."""

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from eps.errors import UserError

IGNORE = 255


def label_map(scores: Float[Tensor, "c h w"], *, threshold: float, ignore_band: float = 0.0) -> UInt8[Tensor, "h w"]:
    """Give each pixel its best class + 1, or 0 where no score exceeds the constant background score `threshold`.

    Scores are in 0..1, those of absent classes 0. A pixel is 255 (ignore) where its best score is less than
    `ignore_band` away from the threshold, or where a second class exceeds the threshold too and is less than
    `ignore_band` behind the best; a band of 0 ignores nothing, nor is anything ignored in a photo whose scores are all
    0 (it has no tag, so it is background). Raises ValueError for more than 254 classes.
    Source: EPS, constant background threshold; the band is beyond the paper.
    """
    if scores.shape[0] >= IGNORE:
        raise ValueError(f"{scores.shape[0]} classes do not fit beside 0 and {IGNORE} in a byte")
    if not scores.any():
        return torch.zeros(scores.shape[1:], dtype=torch.uint8, device=scores.device)
    best, index = scores.max(dim=0)
    labels = torch.where(best > threshold, index + 1, 0)
    if ignore_band > 0:
        second = scores.scatter(0, index[None], -torch.inf).amax(dim=0)
        undecided = (second > threshold) & (best - second < ignore_band)
        labels[((best - threshold).abs() < ignore_band) | undecided] = IGNORE
    return labels.to(torch.uint8)


def threshold_agreement(
    scores: Float[Tensor, "c h w"], saliency: Float[Tensor, "h w"], thresholds: Float[Tensor, " t"]
) -> tuple[Integer[Tensor, " t"], Integer[Tensor, " t"]]:
    """Count the pixels of the intersection and of the union of {best score > t} and {saliency > 0.5} for each t.

    Both are sums over pixels, so that a caller can add photos up and hand the result to `best_threshold`.
    """
    zero = scores.new_zeros((1, *saliency.shape))  # a photo without classes is background
    foreground = torch.cat([zero, scores]).amax(dim=0) > thresholds[:, None, None]
    salient = saliency > 0.5
    return (foreground & salient).sum(dim=(1, 2)), (foreground | salient).sum(dim=(1, 2))


def best_threshold(
    intersection: Integer[Tensor, " t"], union: Integer[Tensor, " t"], thresholds: Float[Tensor, " t"]
) -> float:
    """Pick the threshold (the first of equals) whose foreground agrees best with saliency by IoU, without any truth.

    Raises UserError where no foreground meets saliency at any threshold, which blank saliency maps cause.
    """
    if not intersection.any():
        raise UserError(
            "pseudo_masks.threshold=auto: no localization map meets a saliency map; check the saliency maps (values"
            " above half mark objects) or set pseudo_masks.threshold to a number"
        )
    return float(thresholds[(intersection / union.clamp(min=1)).argmax()])


def alpha_background(scores: Float[Tensor, "c h w"], *, alpha: float) -> Float[Tensor, "n h w"]:
    """Put a background score (1 - best score)^alpha in front of scores in 0..1: n = c + 1 planes for the CRF.

    A larger alpha leaves less to the background. Source: Ahn and Kwak, CVPR 2018, as the released EPS uses it.
    """
    zero = scores.new_zeros((1, *scores.shape[1:]))
    best = torch.cat([zero, scores]).amax(dim=0, keepdim=True)
    return torch.cat([(1 - best) ** alpha, scores])


def constant_background(scores: Float[Tensor, "c h w"], *, threshold: float) -> Float[Tensor, "c1 h w"]:
    """Put the constant background score before those of the classes, and make each pixel's scores sum to 1."""
    background = torch.full_like(scores[:1], threshold)
    both = torch.cat([background, scores])
    return both / both.sum(dim=0, keepdim=True)


def most_probable(
    probabilities: Float[Tensor, "c1 h w"], *, classes: Integer[Tensor, " c"], ignore_band: float = 0.0
) -> UInt8[Tensor, "h w"]:
    """Label each pixel by the likeliest channel: 0 for the first, the class index + 1 for the others.

    `classes` are the class indices of the channels after the background. A pixel whose two likeliest channels are
    less than `ignore_band` apart is 255.
    """
    values = torch.cat([classes.new_zeros(1), classes + 1])
    order = probabilities.topk(min(2, probabilities.shape[0]), dim=0)
    labels = values[order.indices[0]]
    if ignore_band > 0 and probabilities.shape[0] > 1:
        labels[order.values[0] - order.values[1] < ignore_band] = IGNORE
    return labels.to(torch.uint8)
