"""From a classifier's raw maps to localization maps that can be compared between classes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torch.nn import functional as F


def activate(maps: Float[Tensor, "b m h w"], *, background: bool) -> Float[Tensor, "b c h w"]:
    """Turn map logits into the maps of the c classes.

    With `background` the last of m = c + 1 maps is the learnt background: softmax over all, then it is dropped
    (EPS). Without it, c = m class activation maps pass a ReLU (CAM, Zhou et al., CVPR 2016).
    """
    return maps.softmax(dim=1)[:, :-1] if background else maps.relu()


def localization_maps(
    maps: Float[Tensor, "b m h w"], *, background: bool, size: tuple[int, int], classes: Sequence[int] | None = None
) -> Float[Tensor, "b c height width"]:
    """The maps of the c classes, as `activate` makes them, enlarged to `size` (height, width), bilinearly.

    Where `classes` are given, theirs alone, in their order. Source: EPS, inference.
    """
    activated = activate(maps, background=background)
    if classes is not None:
        activated = activated[:, list(classes)]
    return F.interpolate(activated, size=size, mode="bilinear", align_corners=False)


def best_labels(maps: Float[Tensor, "b c1 h w"], *, size: tuple[int, int]) -> UInt8[Tensor, "b height width"]:
    """The best class + 1 of each pixel at `size` (height, width), 0 for the background, whose logits are the last.

    Logits are enlarged (bilinearly) before they are compared, so that edges lie between the maps' pixels.
    """
    enlarged = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return ((enlarged.argmax(dim=1) + 1) % maps.shape[1]).to(torch.uint8)


def normalize_maps(maps: Float[Tensor, "c h w"], labels: Shaped[Tensor, " c"]) -> Float[Tensor, "c h w"]:
    """Divide each map by its maximum + 1e-5 and set the maps of absent classes (label 0) to zero.

    Maps that are not negative come out in 0..1. Source: EPS, inference.
    """
    scores = maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-5)
    return torch.where((labels != 0)[:, None, None], scores, 0.0)
