"""The network that classifier and segmenter share: `trunk`."""

from dataclasses import dataclass
from enum import StrEnum


class TrunkHead(StrEnum):
    prototypes = "prototypes"
    """A pyramid and a prototype head at stride 4, which the segmenter shares."""
    identity = "identity"
    """None: the backbone's last features are the prototypes (the paper's)."""


@dataclass(kw_only=True, slots=True)
class TrunkConfig:
    backbone: str
    """Name of a timm network, resnet38: EPS's WideResNet-38, or yolact_darknet53: YOLACT's DarkNet-53."""
    weights: str
    """imagenet | package:NAME | file:PATH | mxnet:PATH (for resnet38) | none"""
    frozen_norm: bool | str
    """Batch norms stay as they were loaded: statistics, scale and shift; auto: where a batch has fewer than 6 photos.
    """
    frozen_stages: int
    """So many first stages of the backbone do not learn."""
    output_stride: int
    """32, or for head=identity also 8 or 16: the backbone's last features are had at this stride."""
    head: TrunkHead
    """What makes prototypes of the backbone's features."""
    fpn_channels: int
    """This one and the next three: for head=prototypes."""
    head_channels: int
    """Of the prototype head's convolutions."""
    head_depth: int
    """Convolutions of the prototype head before its planes."""
    prototypes: int
    """How many planes maps and masks are combined of."""
    finest_stride: int
    """Of the pyramid: 4, or 8 as in YOLACT, whose prototype head then doubles its planes."""
    deformable_every: int
    """Every so many bottlenecks of a ResNet's last three stages a deformable convolution (YOLACT++); 0 for none."""
    mean: list[float]
    """Taken off the photos' colours, RGB in 0..1."""
    std: list[float]
    """What the colours are then divided by."""
