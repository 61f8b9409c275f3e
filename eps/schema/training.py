"""How either network is trained: `optim` and `augment` of `classifier` and `segmenter`."""

from dataclasses import dataclass
from enum import StrEnum


class OptimizerKind(StrEnum):
    sgd = "sgd"
    adamw = "adamw"


class ScheduleKind(StrEnum):
    poly = "poly"
    steps = "steps"


@dataclass(kw_only=True, slots=True)
class OptimConfig:
    kind: OptimizerKind
    """The optimizer."""
    lr: float
    """The learning rate after warm-up."""
    momentum: float
    """SGD's momentum, or the first beta of AdamW."""
    weight_decay: float
    """Of the optimizer (AdamW's is decoupled)."""
    bias_scale: float
    """Rate of biases and normalisation weights, as a multiple of the others'."""
    decay_biases: bool
    """Whether biases and normalisation weights decay like the others, as in YOLACT, or not at all, as in EPS."""
    last_scale: float
    """Rate of the last layers, as a multiple of the others': class coefficients (stage 1), box head (stage 3)."""
    backbone_scale: float
    """Rate of the backbone, which starts from weights of another task, as a multiple of the others'."""
    schedule: ScheduleKind
    """How the rate falls: as a power of what is left of the run, or in steps."""
    power: float
    """Exponent of the poly schedule."""
    drops: list[float]
    """Shares of the run at which the steps schedule multiplies the rate by `drop_factor`."""
    drop_factor: float
    """Of the steps schedule: what each drop multiplies the rate by."""
    warmup: int
    """Steps of linear warm-up."""
    clip: float
    """Largest gradient norm; 0 for none."""
    base_batch: int
    """The batch size that `lr` and `steps` are meant for: with another one the rate is multiplied by batch / base_batch
    and the steps are divided by it. 0: they are taken as they are."""


@dataclass(kw_only=True, slots=True)
class AugmentConfig:
    crop: int
    """Side of the training crop in pixels; smaller photos are padded with the mean colour."""
    long_side: list[int]
    """Smallest and largest long side of the resized photo, in pixels."""
    flip: float
    """Probability of a horizontal flip."""
    jitter: list[float]
    """Brightness, contrast, saturation, hue."""
