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
    fpn_channels: int
    """This one and the next three: for head=prototypes."""
    head_channels: int
    head_depth: int
    prototypes: int
    finest_stride: int
    """Of the pyramid: 4, or 8 as in YOLACT, whose prototype head then doubles its planes."""
    deformable_every: int
    """Every so many bottlenecks of a ResNet's last three stages a deformable convolution (YOLACT++); 0 for none."""
    mean: list[float]
    std: list[float]
