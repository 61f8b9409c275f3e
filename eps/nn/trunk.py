"""What classifier and segmenter share: a network that turns a photo into prototype planes."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from eps.nn.backbone import Backbone
from eps.nn.fpn import FPN
from eps.nn.prototype_head import PrototypeHead


class TrunkOutput(NamedTuple):
    levels: list[Float[Tensor, "b c _ _"]]
    """Pyramid levels P2..P5 or P3..P5 (strides 4 or 8 to 32), finest first; none of an identity head."""
    features: Float[Tensor, "b c _ _"]
    """The backbone's coarsest."""
    prototypes: Float[Tensor, "b k h w"]
    """Prototype planes: at stride 4, or of an identity head at the backbone's last stride."""


class Trunk(nn.Module):
    """Photo -> pyramid levels and prototype planes at stride 4; stage 3 starts from stage 1's trunk."""

    def __init__(self, *, backbone: Backbone, fpn: FPN, head: PrototypeHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.fpn = fpn
        self.head = head
        self.prototypes = head.prototypes

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> TrunkOutput:
        features = self.backbone(images)
        levels = self.fpn(features)
        return TrunkOutput(levels=levels, features=features[-1], prototypes=self.head(levels[0]))


class IdentityTrunk(nn.Module):
    """Photo -> the backbone's last features as prototype planes: with it a classifier is the one of EPS's paper."""

    def __init__(self, *, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.prototypes = backbone.channels[-1]

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> TrunkOutput:
        features = self.backbone(images)[-1]
        return TrunkOutput(levels=[], features=features, prototypes=features)
