"""Copy-paste augmentation: objects of one photo onto another (Ghiasi et al., CVPR 2021)."""

import torch
from jaxtyping import Bool
from torch import Tensor

from eps.data.samples import PhotoInstances


def paste(
    target: PhotoInstances, source: PhotoInstances, chosen: Bool[Tensor, " n"], *, min_area: int
) -> PhotoInstances:
    """Put the chosen instances of `source` onto `target`, a photo of the same size.

    They cover what is there; what they leave of an instance below `min_area` pixels is dropped. An object that stands
    on another photo's ground comes without its context, so the two cannot be learnt as one.
    """
    pasted = source.masks[chosen]
    cover = pasted.any(dim=0)
    semantic = target.semantic.clone()
    for mask, index in zip(pasted, source.classes[chosen], strict=True):
        semantic[mask] = (index + 1).to(semantic.dtype)
    left = target.masks & ~cover
    tags = target.tags.clone()
    tags[source.classes[chosen]] = 1
    kept = left.flatten(1).sum(dim=1) >= min_area
    return PhotoInstances(
        photo=torch.where(cover, source.photo, target.photo),
        semantic=semantic,
        masks=torch.cat([left[kept], pasted]),
        classes=torch.cat([target.classes[kept], source.classes[chosen]]),
        uncertain=torch.cat([target.uncertain[kept], source.uncertain[chosen]]),
        tags=tags,
    )
