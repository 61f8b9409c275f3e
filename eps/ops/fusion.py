"""Localization maps and the photo's own saliency map put together, as far as the two agree."""

import torch
from jaxtyping import Float
from torch import Tensor

SUREST = 0.1  # share of a photo's pixels, and least score, of what its maps call an object before all else


def saliency_trust(foreground: Float[Tensor, "h w"], saliency: Float[Tensor, "h w"]) -> Float[Tensor, ""]:
    """Mean saliency (0..1) where maps are surest of an object: the tenth of the pixels with the highest foreground.

    The classifier has learnt from all photos what an object looks like, so that a saliency map that is blank, inverted
    or about something else misses those pixels, and one that is right, however different at the borders, does not.
    Where no pixel's foreground exceeds 0.1, maps say nothing against the saliency map: 1.
    Source: beyond the paper.
    """
    flat = foreground.flatten()
    surest = flat.topk(max(1, round(SUREST * flat.numel())))
    counted = surest.values > SUREST
    if not counted.any():
        return torch.ones((), device=foreground.device)
    return saliency.flatten()[surest.indices[counted]].mean()


def fuse_saliency(scores: Float[Tensor, "c h w"], saliency: Float[Tensor, "h w"]) -> Float[Tensor, "c h w"]:
    """Scores whose sum is the foreground of maps and saliency together, shared out among the classes as before.

    `scores` and `saliency` are in 0..1; those of absent classes are 0 and stay so, and a photo without any score stays
    as it is. Stage 2 hands over maps that are brought to a peak of 1 in each photo, so that their sum is cut at 1. The
    foreground is w S + (1 - w) sum_c p_c with w of `saliency_trust`: maps say which class a pixel is and whether to
    believe the saliency map, the saliency map knows the borders. Source: beyond the paper.
    """
    total = scores.sum(dim=0)
    if not total.any():
        return scores
    foreground = total.clamp(max=1)
    trust = saliency_trust(foreground, saliency)
    fused = trust * saliency + (1 - trust) * foreground
    smallest = torch.finfo(scores.dtype).tiny
    # where no class has any score, those of the photo share alike: at least one of them is there
    present = scores.flatten(1).any(dim=1)[:, None, None]
    even = present / present.sum()
    return torch.where(total > smallest, scores / total.clamp(min=smallest), even) * fused
