"""Typed descriptions of our models: what a config asks for and what a checkpoint says of itself.

One constructor serves both, so that a checkpoint alone rebuilds its model.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from eps.models.classifier import Classifier
from eps.models.segmenter import AnchorSizes, Segmenter
from eps.nn.backbone import Backbone
from eps.nn.box_head import BoxHead
from eps.nn.fpn import FPN, ExtraLevels
from eps.nn.prototype_head import PrototypeHead
from eps.nn.trunk import Trunk


@dataclass(frozen=True, kw_only=True)
class TrunkSpec:
    """Backbone (a timm name), pyramid and prototype head; `mean` and `std` of photos in 0..1."""

    backbone: str
    frozen_norm: bool
    fpn_channels: int
    head_channels: int
    head_depth: int
    prototypes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec:
    """Stage 1's classifier; `background` adds EPS's background map."""

    trunk: TrunkSpec
    classes: tuple[str, ...]
    background: bool
    kind: Literal["classifier"] = "classifier"


@dataclass(frozen=True, kw_only=True)
class SegmenterSpec:
    """Stage 3's segmenter; `scales` in pixels at `image_size`, one a level from P3."""

    trunk: TrunkSpec
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    """Height and width that photos are resized to."""
    scales: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]
    kind: Literal["segmenter"] = "segmenter"


def build_classifier(spec: ClassifierSpec) -> Classifier:
    """A classifier with fresh weights."""
    return Classifier(
        trunk=_trunk(spec.trunk),
        prototypes=spec.trunk.prototypes,
        classes=len(spec.classes),
        background=spec.background,
        mean=torch.tensor(spec.trunk.mean),
        std=torch.tensor(spec.trunk.std),
    )


def build_segmenter(spec: SegmenterSpec) -> Segmenter:
    """A segmenter with fresh weights."""
    channels = spec.trunk.fpn_channels
    return Segmenter(
        trunk=_trunk(spec.trunk),
        extra=ExtraLevels(channels=channels, levels=len(spec.scales) - 3),
        box_head=BoxHead(
            in_channels=channels,
            channels=channels,
            classes=len(spec.classes),
            prototypes=spec.trunk.prototypes,
            anchors_per_cell=len(spec.ratios) * len(spec.scales[0]),
            normalized=True,
        ),
        anchor_sizes=AnchorSizes(scales=spec.scales, ratios=spec.ratios),
        prototypes=spec.trunk.prototypes,
        classes=len(spec.classes),
        mean=torch.tensor(spec.trunk.mean),
        std=torch.tensor(spec.trunk.std),
    )


def to_json(spec: ClassifierSpec | SegmenterSpec) -> str:
    """A spec as the text that a checkpoint's metadata carries."""
    return json.dumps(asdict(spec), sort_keys=True)


def from_json(text: str) -> ClassifierSpec | SegmenterSpec:
    """The spec that `to_json` wrote. Raises `ValueError` for anything else."""
    try:
        fields: dict[str, Any] = _tuples(json.loads(text))
        fields["trunk"] = TrunkSpec(**fields["trunk"])
        kinds = {"classifier": ClassifierSpec, "segmenter": SegmenterSpec}
        spec: ClassifierSpec | SegmenterSpec = kinds[fields["kind"]](**fields)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"not a model description: {error}") from error
    return spec


def _trunk(spec: TrunkSpec) -> Trunk:
    backbone = Backbone(name=spec.backbone, frozen_norm=spec.frozen_norm)
    fpn = FPN(in_channels=backbone.channels, channels=spec.fpn_channels)
    head = PrototypeHead(
        in_channels=spec.fpn_channels,
        channels=spec.head_channels,
        prototypes=spec.prototypes,
        depth=spec.head_depth,
        upsample=False,
    )
    _initialise(fpn)
    _initialise(head)
    return Trunk(backbone=backbone, fpn=fpn, head=head)


def _initialise(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.bias is not None:
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            nn.init.zeros_(part.bias)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value
