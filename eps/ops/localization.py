"""From a classifier's raw maps to localization maps that can be compared between classes."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def activate(maps: Float[Tensor, "b m h w"], *, background: bool) -> Float[Tensor, "b c h w"]:
    """Turn map logits into the maps of the c classes.

    With `background` the last of m = c + 1 maps is the learnt background: softmax over all, then it is dropped
    (EPS). Without it, c = m class activation maps pass a ReLU (CAM, Zhou et al., CVPR 2016).
    """
    return maps.softmax(dim=1)[:, :-1] if background else maps.relu()


def normalize_maps(maps: Float[Tensor, "c h w"], labels: Shaped[Tensor, " c"]) -> Float[Tensor, "c h w"]:
    """Divide each map by its maximum + 1e-5 and set the maps of absent classes (label 0) to zero.

    Maps that are not negative come out in 0..1. Source: EPS, inference.
    """
    scores = maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-5)
    return torch.where((labels != 0)[:, None, None], scores, 0.0)
