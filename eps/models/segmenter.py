"""Stage 3's network: YOLACT's instances and a semantic map, both from the planes of stage 1's prototype head."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eps.nn.box_head import BoxHead
from eps.nn.fpn import ExtraLevels
from eps.nn.trunk import Trunk
from eps.ops.anchors import anchors
from eps.ops.prototypes import assemble


class AnchorSizes(NamedTuple):
    """Anchor scales of each level in pixels (a tuple a level, P3 first), and the ratios that all levels share."""

    scales: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]


class SegmenterOutput(NamedTuple):
    offsets: Float[Tensor, "b n 4"]
    logits: Float[Tensor, "b n c1"]
    """Class logits of each anchor, background first."""
    coefficients: Float[Tensor, "b n k"]
    prototypes: Float[Tensor, "b k h w"]
    semantic: Float[Tensor, "b c1 h w"]
    """Semantic map logits, background last."""
    anchors: Float[Tensor, "n 4"]
    """Centre-size, relative to the image."""


class Segmenter(nn.Module):
    """Photo -> boxes, classes and mask coefficients of every anchor, prototype planes, and C + 1 semantic maps.

    Levels P3..P7 carry anchors; the prototype head and the semantic map are at stride 4.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        trunk: Trunk,
        extra: ExtraLevels,
        box_head: BoxHead,
        anchor_sizes: AnchorSizes,
        prototypes: int,
        classes: int,
        mean: Tensor,
        std: Tensor,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.extra = extra
        self.box_head = box_head
        self.anchor_sizes = anchor_sizes
        self.coefficients = nn.Parameter(torch.empty(classes + 1, prototypes))
        nn.init.normal_(self.coefficients, std=prototypes**-0.5)
        self.register_buffer("mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(3, 1, 1), persistent=False)

    def normalize(self, photos: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """Photos in 0..1 (RGB) -> what `forward` takes."""
        return (photos - self.mean) / self.std

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> SegmenterOutput:
        trunk = self.trunk(images)
        levels = [*trunk.levels[1:], *self.extra(trunk.levels[-1])]
        head = self.box_head(levels)
        return SegmenterOutput(
            offsets=head.offsets,
            logits=head.logits,
            coefficients=head.coefficients,
            prototypes=trunk.prototypes,
            semantic=assemble(trunk.prototypes, self.coefficients),
            anchors=self._anchors(levels, images),
        )

    def _anchors(self, levels: Sequence[Tensor], images: Tensor) -> Tensor:
        made = anchors(
            grids=[(level.shape[-2], level.shape[-1]) for level in levels],
            scales=self.anchor_sizes.scales,
            ratios=self.anchor_sizes.ratios,
            size=(images.shape[-2], images.shape[-1]),
        )
        return made.to(images.device)
