"""The typed config tree: what may be set, of which type. The values live in `conf/`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a verb hands back: a score for sweepers, higher is better, and what it wrote."""

    score: float
    path: Path


class DataKind(StrEnum):
    railroad = "railroad"
    """The embedded benchmark, generated where it is missing."""
    folder = "folder"
    """A dataset folder of our layout (see the README)."""


class ClassifierKind(StrEnum):
    eps = "eps"
    """C + 1 maps under joint supervision of tags and saliency."""
    cam = "cam"
    """C maps from tags alone: the baseline."""


class Pooling(StrEnum):
    average = "average"
    """Image logits are the mean of the maps (the paper's)."""
    salient = "salient"
    """The mean weighted by saliency + `pooling_floor`: context cannot serve as evidence."""


class SaliencyLoss(StrEnum):
    square = "square"
    """Mean squared error with map selection by tau and lam (the paper's)."""
    likelihood = "likelihood"
    """Log likelihood of the saliency map: does not saturate, holds absent classes down."""


class OptimizerKind(StrEnum):
    sgd = "sgd"
    adamw = "adamw"


class ScheduleKind(StrEnum):
    poly = "poly"
    steps = "steps"


class CRFBackend(StrEnum):
    none = "none"
    pydensecrf = "pydensecrf"


class Supervision(StrEnum):
    pseudo = "pseudo"
    """Pseudo-masks of stage 2."""
    truth = "truth"
    """True masks: the upper bound."""


class Subject(StrEnum):
    pseudo_masks = "pseudo_masks"
    segmenter = "segmenter"


class SweepScore(StrEnum):
    agreement = "agreement"
    """A score free of truth: sweeps may select by it."""
    truth = "truth"
    """The score of `evaluate`: for analysis, never for choosing."""


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@dataclass(kw_only=True, slots=True)
class DataConfig:
    kind: DataKind
    root: str
    train: str
    """Split that stages 1 to 3 learn from."""
    val: str
    """Split that stage 3 is scored on."""
    also: list[str]
    """Further splits to score the segmenter on."""
    sizes: dict[str, int]
    """Scenes in each split of the embedded benchmark; empty for other data."""
    size: int
    """Side of the embedded benchmark's scenes in pixels; 0 for other data."""


@dataclass(kw_only=True, slots=True)
class TrunkConfig:
    backbone: str
    """Name of a timm network."""
    weights: str
    """imagenet | package:NAME | file:PATH | none"""
    frozen_norm: bool
    fpn_channels: int
    head_channels: int
    head_depth: int
    prototypes: int
    mean: list[float]
    std: list[float]


@dataclass(kw_only=True, slots=True)
class OptimConfig:
    kind: OptimizerKind
    lr: float
    momentum: float
    """SGD's momentum, or the first beta of AdamW."""
    weight_decay: float
    bias_scale: float
    """Rate of biases and normalisation weights, as a multiple of the others'; they do not decay."""
    last_scale: float
    """Rate of the last layers, as a multiple of the others': class coefficients (stage 1), box head (stage 3)."""
    schedule: ScheduleKind
    power: float
    """Exponent of the poly schedule."""
    drops: list[float]
    """Shares of the run at which the steps schedule divides the rate by 10."""
    warmup: int
    """Steps of linear warm-up."""
    clip: float
    """Largest gradient norm; 0 for none."""


@dataclass(kw_only=True, slots=True)
class AugmentConfig:
    crop: int
    """Side of the training crop in pixels; smaller photos are padded with the mean colour."""
    scale: list[float]
    """Smallest and largest side of the resized photo, as a multiple of `crop` (long side)."""
    flip: float
    """Probability of a horizontal flip."""
    jitter: list[float]
    """Brightness, contrast, saturation, hue."""


@dataclass(kw_only=True, slots=True)
class ClassifierConfig:
    kind: ClassifierKind
    pooling: Pooling
    pooling_floor: float
    tag_weight: float
    """Weight of the tag loss beside the saliency loss."""
    saliency_loss: SaliencyLoss
    tau: float
    """Overlap with saliency above which a present class counts as foreground (EPS)."""
    lam: float
    """Weight of the foreground in the saliency estimate (EPS)."""
    select_all: float
    """Share of the run in which every present class counts as foreground."""
    steps: int
    batch: int
    optim: OptimConfig
    augment: AugmentConfig


@dataclass(kw_only=True, slots=True)
class CRFConfig:
    iterations: int
    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float


@dataclass(kw_only=True, slots=True)
class PseudoMasksConfig:
    scales: list[float]
    flip: bool
    threshold: float | str
    """Background score in 0..1, or `auto`: the one that agrees best with saliency."""
    ignore_band: float
    """Scores this near to the threshold, or to the next class, become 255."""
    crf: CRFBackend
    crf_parameters: CRFConfig
    min_area: int
    """Smallest instance in pixels."""
    save_scores: bool


@dataclass(kw_only=True, slots=True)
class SegmenterConfig:
    supervision: Supervision
    warm_start: bool
    """Start trunk and class coefficients from stage 1's."""
    image_size: list[int]
    """Height and width that photos are resized to."""
    scales: list[list[float]]
    """Anchor scales in pixels, one list a level from P3."""
    ratios: list[float]
    paste: float
    """Probability that a training photo is given instances of another photo."""
    box_weight: float
    class_weight: float
    mask_weight: float
    semantic_weight: float
    steps: int
    batch: int
    optim: OptimConfig
    augment: AugmentConfig
    score_threshold: float
    nms_iou: float
    max_detections: int


@dataclass(kw_only=True, slots=True)
class EvaluateConfig:
    subject: Subject
    splits: list[str]
    best_threshold: bool
    """Also score stored maps at every threshold and report the best: an oracle, for baselines."""


@dataclass(kw_only=True, slots=True)
class RuntimeConfig:
    device: Device
    precision: Precision
    workers: int
    threads: int
    """CPU threads; 0 for one a core."""
    checkpoint_every: int
    """Steps between resumable states; 0 for none."""


@dataclass(kw_only=True, slots=True)
class SweepConfig:
    score: SweepScore

    def choose(self, agreement: Result, truth: Result | None) -> Result:
        """What a stage hands to a sweeper: the score free of truth, unless the truth's was asked for and is there."""
        return truth if truth is not None and self.score is SweepScore.truth else agreement


@dataclass(kw_only=True, slots=True)
class Config:
    name: str
    """Of the run: everything it makes lies in `runs/<name>`."""
    run_dir: str
    out_dir: str
    """Where this job writes: the run's folder, or the job's own in a multirun."""
    seed: int
    data: DataConfig
    trunk: TrunkConfig
    classifier: ClassifierConfig
    pseudo_masks: PseudoMasksConfig
    segmenter: SegmenterConfig
    evaluate: EvaluateConfig
    runtime: RuntimeConfig
    sweep: SweepConfig

    def output(self, artifact: str) -> Path:
        """Where this job writes an artifact (`classifier`, `pseudo_masks`, `segmenter`, `report`, ...)."""
        return Path(self.out_dir) / artifact

    def input(self, artifact: str) -> Path:
        """Where this job reads an artifact: its own folder if it lies there, else the run's."""
        own = self.output(artifact)
        return own if own.exists() else Path(self.run_dir) / artifact
