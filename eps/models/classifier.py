"""Stage 1's network: localization maps as combinations of prototype planes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eps.nn.normalization import Normalization, Photos
from eps.nn.trunk import IdentityTrunk, Trunk
from eps.ops.assembly import photo_localization
from eps.ops.localization import activate
from eps.ops.prototypes import assemble


class ClassifierOutput(NamedTuple):
    maps: Float[Tensor, "b m h w"]
    """Map logits, one a class and, where the classifier has one, the background last."""
    prototypes: Float[Tensor, "b k h w"]


class Classifier(nn.Module):
    """Photo -> C (CAM) or C + 1 (EPS, background last) map logits at the resolution of the trunk's prototypes.

    While training, whole prototypes drop out at the rate `dropout` before they are combined.
    Image logits are not its business: how evidence is pooled over a map is part of the training criterion
    (`eps.losses.classification.pooled_logits`).
    """

    def __init__(
        self,
        *,
        trunk: Trunk | IdentityTrunk,
        classes: int,
        background: bool,
        dropout: float,
        mean: Tensor,
        std: Tensor,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.background = background
        self.dropout = dropout
        self.coefficients = nn.Parameter(torch.empty(classes + background, trunk.prototypes))
        nn.init.normal_(self.coefficients, std=trunk.prototypes**-0.5)
        self.normalization = Normalization(mean=mean, std=std)

    def normalize(self, photos: Photos) -> Float[Tensor, "b 3 H W"]:
        """Photos -> what `forward` takes. A method: protocols do not see modules (Python 3.12)."""
        normalized: Tensor = self.normalization(photos)
        return normalized

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> ClassifierOutput:
        prototypes = F.dropout2d(self.trunk(images).prototypes, self.dropout, training=self.training)
        return ClassifierOutput(maps=assemble(prototypes, self.coefficients), prototypes=prototypes)

    def localization(
        self,
        images: Float[Tensor, "b 3 H W"],
        *,
        size: tuple[int, int] | None = None,
        classes: Sequence[int] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """Localization maps of the C classes, not negative: softmax with the background left out, or ReLU.

        Enlarged to `size` (height, width), where given, and then of `classes` alone, in their order, where given.
        """
        maps = self.forward(images).maps
        if size is None:
            return activate(maps, background=self.background)
        return photo_localization(maps, background=self.background, size=size, classes=classes)
