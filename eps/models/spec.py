"""Typed descriptions of our models: what a config asks for and what a checkpoint says of itself.

One constructor serves both, so that a checkpoint alone rebuilds its model.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.models.deeplab import DeepLab
from eps.models.segmenter import AnchorSizes, Segmenter
from eps.nn.backbone import PYRAMID_STRIDES, Backbone
from eps.nn.box_head import BoxHead
from eps.nn.fpn import FPN, ExtraLevels
from eps.nn.mask_iou import MaskIoUNet
from eps.nn.prototype_head import PrototypeHead
from eps.nn.tag_head import TagHead
from eps.nn.trunk import IdentityTrunk, Trunk

TrunkHead = Literal["prototypes", "identity"]
SegmenterDesign = Literal["shared", "released"]
DEEPEST_HEAD = 64


@dataclass(frozen=True, kw_only=True)
class TrunkSpec:
    """Backbone (a timm name, or resnet38), pyramid and prototype head; `mean` and `std` of photos in 0..1.

    With an identity head there is neither pyramid nor head: their sizes mean nothing, and `output_stride` is free.
    """

    backbone: str
    frozen_norm: bool
    frozen_stages: int = 0
    output_stride: int = 32
    head: TrunkHead = "prototypes"
    fpn_channels: int
    head_channels: int
    head_depth: int
    prototypes: int
    finest_stride: Literal[4, 8] = 4
    """Of the pyramid; from 8 the prototype head doubles its planes (YOLACT), so that they are at stride 4 as well."""
    deformable_every: int = 0
    """Every so many bottlenecks from stride 8 on a deformable convolution (YOLACT++); 0 for none."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.head not in get_args(TrunkHead):  # a checkpoint's metadata may say anything
            raise ValueError(f"not a model description: a trunk's head is not {self.head!r}")
        if not 0 <= self.head_depth <= DEEPEST_HEAD:
            raise ValueError(f"not a model description: a head has no {self.head_depth} layers")


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec:
    """Stage 1's classifier; `background` adds EPS's background map, `dropout` is the rate of dropped prototypes."""

    trunk: TrunkSpec
    classes: tuple[str, ...]
    background: bool
    dropout: float = 0.0
    kind: Literal["classifier"] = "classifier"


@dataclass(frozen=True, kw_only=True)
class SegmenterSpec:
    """Stage 3's segmenter; `scales` in pixels at `image_size`, one a level from P3.

    The shared design goes on from stage 1: semantic maps are combinations of its planes, and the box head normalises
    the levels that stage 1 has trained. The released one is YOLACT's: semantic maps are a convolution of P3, nothing is
    normalised, new layers start by Xavier's rule.
    """

    trunk: TrunkSpec
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    """Height and width that photos are resized to."""
    scales: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]
    square_anchors: bool = False
    """Anchors as high as they are wide (the released YOLACT models of v1)."""
    antialias: bool = True
    """Photos that shrink to `image_size` are smoothed on the way; the released YOLACT models have learnt without."""
    design: SegmenterDesign = "shared"
    mask_iou: bool = False
    """With YOLACT++'s net that says how well masks fit."""
    tag_head: bool = False
    """With a layer that says which classes the photo as a whole shows."""
    coefficient_scale: float = 1.0
    """What an anchor's mask coefficients are at most, in either direction."""
    kind: Literal["segmenter"] = "segmenter"

    def __post_init__(self) -> None:
        if not 0 < self.coefficient_scale <= 1:  # a checkpoint's metadata may say anything
            raise ValueError(f"not a model description: mask coefficients are not at most {self.coefficient_scale}")


@dataclass(frozen=True, kw_only=True)
class DeepLabSpec:
    """Stage 3's other segmenter, DeepLabV3; `mean` and `std` of photos in 0..1."""

    backbone: str
    """resnet50 or resnet101, torchvision's; or trunk: that of `trunk`"""
    classes: tuple[str, ...]
    frozen_norm: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    trunk: TrunkSpec | None = None
    """Of backbone=trunk: its network and output stride, with an identity head, as DeepLab has one of its own."""
    kind: Literal["deeplab"] = "deeplab"

    def __post_init__(self) -> None:
        if (self.backbone == "trunk") != (self.trunk is not None):  # a checkpoint's metadata may say anything
            raise ValueError("not a model description: a DeepLab has a trunk where its backbone is one, and only there")


Spec = ClassifierSpec | SegmenterSpec | DeepLabSpec


def build_classifier(spec: ClassifierSpec) -> Classifier:
    """A classifier with fresh weights."""
    return Classifier(
        trunk=_identity_trunk(spec.trunk) if spec.trunk.head == "identity" else _trunk(spec.trunk),
        classes=len(spec.classes),
        background=spec.background,
        dropout=spec.dropout,
        mean=torch.tensor(spec.trunk.mean),
        std=torch.tensor(spec.trunk.std),
    )


def build_segmenter(spec: SegmenterSpec) -> Segmenter:
    """A segmenter with fresh weights. Raises `UserError` for a trunk without a pyramid."""
    if spec.trunk.head == "identity":
        raise UserError(
            "trunk.head=identity has no pyramid for a segmenter to find boxes on: choose another trunk (trunk=lite0) "
            "and segmenter.warm_start=false"
        )
    channels, classes = spec.trunk.fpn_channels, len(spec.classes)
    released = spec.design == "released"
    trunk = _trunk(spec.trunk)
    model = Segmenter(
        trunk=trunk,
        extra=ExtraLevels(channels=channels, levels=len(spec.scales) - 3),
        box_head=BoxHead(
            in_channels=channels,
            channels=channels,
            classes=classes,
            prototypes=spec.trunk.prototypes,
            anchors_per_cell=len(spec.ratios) * len(spec.scales[0]),
            normalized=not released,
            coefficient_scale=spec.coefficient_scale,
        ),
        semantic_head=nn.Conv2d(channels, classes, 1) if released else None,
        mask_iou=MaskIoUNet(classes=classes) if spec.mask_iou else None,
        tag_head=TagHead(channels=trunk.backbone.channels[-1], classes=classes) if spec.tag_head else None,
        anchor_sizes=AnchorSizes(scales=spec.scales, ratios=spec.ratios, square=spec.square_anchors),
        classes=classes,
        mean=torch.tensor(spec.trunk.mean),
        std=torch.tensor(spec.trunk.std),
    )
    if released:
        heads = [part for name, part in model.named_children() if name != "trunk"]
        for part in (model.trunk.fpn, model.trunk.head, *heads):
            _initialise(part, nn.init.xavier_uniform_)
    return model


def build_deeplab(spec: DeepLabSpec) -> DeepLab:
    """A DeepLab with fresh weights. Raises `UserError` for a backbone that it does not know or cannot dilate."""
    backbone, head = _deeplab_parts(spec)
    return DeepLab(
        backbone=backbone,
        head=head,
        frozen_norm=spec.frozen_norm,
        mean=torch.tensor(spec.mean),
        std=torch.tensor(spec.std),
    )


def _deeplab_parts(spec: DeepLabSpec) -> tuple[nn.Module, nn.Module]:
    maps = len(spec.classes) + 1
    if spec.trunk is not None:
        stride = spec.trunk.output_stride
        backbone = _backbone(spec.trunk, strides=(stride,))
        return backbone, DeepLabHead(backbone.channels[-1], maps, _atrous_rates(stride))
    make = {"resnet50": deeplabv3_resnet50, "resnet101": deeplabv3_resnet101}.get(spec.backbone)
    if make is None:  # a checkpoint's metadata may say anything
        raise UserError(
            f"segmenter.deeplab.backbone={spec.backbone!r} is not known: choose resnet50, resnet101 or trunk"
        )
    parts = make(weights=None, weights_backbone=None, num_classes=maps)
    return parts.backbone, parts.classifier


def _atrous_rates(stride: int) -> tuple[int, ...]:
    """Of the pyramid pooling: 6, 12, 18 at stride 16, twice as many at stride 8 (Chen et al., 2017, section 3.3)."""
    return tuple(rate * 16 // stride for rate in (6, 12, 18))


def to_json(spec: Spec) -> str:
    """A spec as the text that a checkpoint's metadata carries; of a part that it has not it says nothing."""
    return json.dumps({key: value for key, value in asdict(spec).items() if value is not None}, sort_keys=True)


def from_json(text: str) -> Spec:
    """The spec that `to_json` wrote. Raises `ValueError` for anything else."""
    try:
        fields: dict[str, Any] = _tuples(json.loads(text))
        kinds = {"classifier": ClassifierSpec, "segmenter": SegmenterSpec, "deeplab": DeepLabSpec}
        if fields.get("trunk") is not None:  # a DeepLab need not have one
            fields["trunk"] = _made(TrunkSpec, fields["trunk"])
        spec: Spec = _made(kinds[fields["kind"]], fields)
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"not a model description: {error}") from error
    return spec


def _made(kind: type[Any], fields: dict[str, Any]) -> Any:
    """A record with fields of the types that it declares: JSON may hold any. Raises `TypeError` for others."""
    hints = get_type_hints(kind)
    for name, value in fields.items():
        if not _is_a(value, hints.get(name)):
            raise TypeError(f"{name} is not {value!r}")
    return kind(**fields)


def _is_a(value: Any, kind: Any) -> bool:
    args = get_args(kind)
    if isinstance(kind, UnionType):
        return any(_is_a(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return type(value) in (int, str) and value in args
    if get_origin(kind) is tuple:
        kinds = args[:1] * len(value) if args[-1] is ... and isinstance(value, tuple) else args
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_is_a, value, kinds))
    return type(value) in ((int, float) if kind is float else (kind,))


def _trunk(spec: TrunkSpec) -> Trunk:
    if spec.output_stride != 32:
        raise UserError(f"trunk.output_stride={spec.output_stride}: a pyramid needs 32; or set trunk.head=identity")
    backbone = _backbone(spec, strides=[stride for stride in PYRAMID_STRIDES if stride >= spec.finest_stride])
    fpn = FPN(in_channels=backbone.channels, channels=spec.fpn_channels)
    head = PrototypeHead(
        in_channels=spec.fpn_channels,
        channels=spec.head_channels,
        prototypes=spec.prototypes,
        depth=spec.head_depth,
        upsample=spec.finest_stride == 8,
    )
    for part in (fpn, head):
        _initialise(part, partial(nn.init.kaiming_normal_, nonlinearity="relu"))
    return Trunk(backbone=backbone, fpn=fpn, head=head)


def _identity_trunk(spec: TrunkSpec) -> IdentityTrunk:
    return IdentityTrunk(backbone=_backbone(spec, strides=(spec.output_stride,)))


def _backbone(spec: TrunkSpec, *, strides: Sequence[int]) -> Backbone:
    return Backbone(
        name=spec.backbone,
        strides=strides,
        frozen_norm=spec.frozen_norm,
        frozen_stages=spec.frozen_stages,
        deformable_every=spec.deformable_every,
    )


def _initialise(module: nn.Module, start: Callable[[Tensor], Tensor]) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.bias is not None:
            start(part.weight)
            nn.init.zeros_(part.bias)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value
