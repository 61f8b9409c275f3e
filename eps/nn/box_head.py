"""The prediction head that all pyramid levels share (YOLACT, section 3.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class BoxHeadOutput(NamedTuple):
    offsets: Float[Tensor, "b n 4"]
    logits: Float[Tensor, "b n c1"]
    coefficients: Float[Tensor, "b n k"]


class BoxHead(nn.Module):
    """Per anchor: box offsets, class logits (background first) and mask coefficients in -1..1 (tanh), times a scale.

    Anchors run by level, row, column, then anchor of the cell, as `eps.ops.anchors.anchors` orders them.
    `normalized` brings each level of each photo to mean 0 and variance 1 first: levels that stage 1 has trained are
    large and of unlike scale, and one head for all of them then takes off late or never. YOLACT has no such step, and a
    `coefficient_scale` of 1: it is for planes that are large already. With them the mask loss begins so high that its
    gradient switches the units of `shared` off, for good.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        classes: int,
        prototypes: int,
        anchors_per_cell: int,
        normalized: bool,
        coefficient_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.shared = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.boxes = nn.Conv2d(channels, anchors_per_cell * 4, 3, padding=1)
        self.classes = nn.Conv2d(channels, anchors_per_cell * (classes + 1), 3, padding=1)
        self.coefficients = nn.Conv2d(channels, anchors_per_cell * prototypes, 3, padding=1)
        self.anchors_per_cell = anchors_per_cell
        self.normalized = normalized
        self.coefficient_scale = coefficient_scale
        # planes that stage 1 has trained are large: small coefficients keep the first mask losses, whose gradient
        # reaches the trunk, from undoing that training
        nn.init.normal_(self.coefficients.weight, std=1e-4)

    def forward(self, levels: Sequence[Float[Tensor, "b c _ _"]]) -> BoxHeadOutput:
        if self.normalized:
            levels = [F.group_norm(level, num_groups=1) for level in levels]
        hidden = [F.relu(self.shared(level)) for level in levels]
        coefficients = torch.tanh(torch.cat([self._rows(self.coefficients(x)) for x in hidden], dim=1))
        return BoxHeadOutput(
            offsets=torch.cat([self._rows(self.boxes(x)) for x in hidden], dim=1),
            logits=torch.cat([self._rows(self.classes(x)) for x in hidden], dim=1),
            coefficients=coefficients if self.coefficient_scale == 1 else self.coefficient_scale * coefficients,
        )

    def _rows(self, planes: Float[Tensor, "b ad h w"]) -> Float[Tensor, "b n d"]:
        b, channels, h, w = planes.shape
        depth = channels // self.anchors_per_cell
        return planes.permute(0, 2, 3, 1).reshape(b, h * w * self.anchors_per_cell, depth)
