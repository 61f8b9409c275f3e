"""What classifier and segmenter share: backbone, pyramid and prototype head."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from eps.nn.backbone import Backbone
from eps.nn.fpn import FPN
from eps.nn.prototype_head import PrototypeHead


class TrunkOutput(NamedTuple):
    levels: list[Float[Tensor, "b c _ _"]]
    """Pyramid levels P2..P5 (strides 4, 8, 16, 32), finest first."""
    prototypes: Float[Tensor, "b k h w"]
    """Prototype planes at stride 4."""


class Trunk(nn.Module):
    """Photo -> pyramid levels and prototype planes at stride 4; stage 3 starts from stage 1's trunk."""

    def __init__(self, *, backbone: Backbone, fpn: FPN, head: PrototypeHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.fpn = fpn
        self.head = head

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> TrunkOutput:
        levels = self.fpn(self.backbone(images))
        return TrunkOutput(levels=levels, prototypes=self.head(levels[0]))
