"""Where saliency maps come from when a dataset ships none: `saliency`."""

from dataclasses import dataclass
from enum import StrEnum


class SaliencyKind(StrEnum):
    none = "none"
    """No maps are made: the dataset has its own, or none are needed."""
    onnx = "onnx"
    """By the ONNX file of a salient-object network."""
    rembg = "rembg"
    """By the package rembg, where it is installed."""


class ValueScale(StrEnum):
    unit = "unit"
    """0..1"""
    peak = "peak"
    """Divided by the photo's largest value."""
    byte = "byte"
    """0..255"""


class TensorLayout(StrEnum):
    nchw = "nchw"
    nhwc = "nhwc"


class ChannelOrder(StrEnum):
    rgb = "rgb"
    bgr = "bgr"


class OutputActivation(StrEnum):
    none = "none"
    """The output is saliency in 0..1."""
    sigmoid = "sigmoid"
    """The output is logits."""
    minmax = "minmax"
    """The output of each photo is stretched to 0..1."""


@dataclass(kw_only=True, slots=True)
class SaliencyConfig:
    kind: SaliencyKind
    """How missing maps are made."""
    model: str
    """The ONNX file of kind onnx."""
    session: str
    """The network of kind rembg, by rembg's name."""
    size: list[int]
    """Height and width that photos are resized to for the network."""
    scale: ValueScale
    """The range that the network wants values in."""
    mean: list[float]
    """Taken off the values, in units of `scale` and in the order of `channels`."""
    std: list[float]
    """What the values are then divided by."""
    layout: TensorLayout
    """The order of the network's dimensions."""
    channels: ChannelOrder
    """The order of the network's colours."""
    output: str
    """The network's output to read: its name, or its number from 0."""
    activation: OutputActivation
    """What is still to be applied to the output."""
    batch: int
    """Photos at once, where the file leaves that open."""
    splits: list[str]
    """Whose photos are given maps."""
    overwrite: bool
    """Also make the maps that are there already."""
