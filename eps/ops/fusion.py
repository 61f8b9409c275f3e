"""Localization maps and the photo's own saliency map put together, as far as the two agree."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

FAINT = 0.1  # the least foreground that says anything
BELIEVED = 0.5  # the trust from which on a saliency map is learnt as it is


def saliency_trust(foreground: Float[Tensor, "*b h w"], saliency: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b"]:
    """The correlation of a photo's foreground and its saliency map over the pixels, 0 where it is negative.

    The classifier has learnt from all photos what an object looks like, so that its maps lie on the object, if loosely:
    they rise and fall with a saliency map that is right, however different its borders, against one that is inverted,
    and regardless of one that is blank or about something else. Both are in 0..1. Where no pixel's foreground exceeds
    0.1, maps say nothing against the saliency map: 1. Source: beyond the paper.
    """
    maps, given = (part.flatten(-2) - part.mean(dim=(-2, -1))[..., None] for part in (foreground, saliency))
    spread = (maps.square().sum(-1) * given.square().sum(-1)).sqrt()
    correlation = (maps * given).sum(-1) / spread.clamp(min=torch.finfo(spread.dtype).tiny)
    return torch.where(foreground.amax(dim=(-2, -1)) > FAINT, correlation.clamp(0, 1), 1.0)


def trusted_saliency(
    maps: Float[Tensor, "b m h w"], saliency: Float[Tensor, "b 1 hs ws"], labels: Shaped[Tensor, "b c"]
) -> Float[Tensor, "b 1 hs ws"]:
    """Saliency maps as far as the photos' own maps agree with them, and the maps' own foreground for the rest.

    `maps` are logits, the last plane of them background (m = c + 1), and are brought bilinearly to the saliency maps'
    size; the foreground F is the probability of any tagged class against the background, and the result w S + (1 - w) F
    with w twice that of `saliency_trust`, 1 at most: maps that are still learning are loose, and a saliency map that
    half agrees with them is to be learnt as it is. A photo without any tag keeps its own. Nothing here has a gradient.
    Source: beyond the paper (bootstrapping: Reed et al., 2015, with a weight for each photo).
    """
    with torch.no_grad():
        maps = functional.interpolate(maps.float(), size=saliency.shape[-2:], mode="bilinear", align_corners=False)
        absent = labels == 0
        objects = maps[:, :-1].masked_fill(absent[:, :, None, None], -torch.inf).logsumexp(dim=1)
        foreground = torch.sigmoid(objects - maps[:, -1])
        trust = (saliency_trust(foreground, saliency[:, 0]) / BELIEVED).clamp(max=1)[:, None, None, None]
        believed = trust * saliency + (1 - trust) * foreground[:, None]
        return torch.where(absent.all(dim=1)[:, None, None, None], saliency, believed)


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


def adjust_shares(
    scores: Float[Tensor, "c h w"], frequency: Float[Tensor, " c"], *, strength: float
) -> Float[Tensor, "c h w"]:
    """Scores shared out anew, each class's divided by the power `strength` of its frequency; their sum stays.

    `frequency` is the share of the training photos that carry the tag (0..1); a class that no photo carries stays as it
    is. A classifier gives a pixel too often to the class that it has seen more often. Absent classes, which are 0, stay
    so. Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021 (eq. 9), on shares of a pixel.
    """
    weights = torch.where(frequency > 0, frequency, 1.0) ** -strength
    smallest = torch.finfo(scores.dtype).tiny
    adjusted = scores * (weights / weights.max())[:, None, None] if len(weights) else scores
    return adjusted * (scores.sum(dim=0) / adjusted.sum(dim=0).clamp(min=smallest))
