"""The typed config tree: what may be set, of which type. The values live in `conf/`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


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
    voc12 = "voc12"
    """PASCAL VOC 2012 as it unpacks."""
    coco14 = "coco14"
    """COCO 2014 as it unpacks."""
    coco17 = "coco17"
    """COCO 2017 as it unpacks."""
    photos = "photos"
    """A plain folder of photos with a csv of labels."""
    coco = "coco"
    """Photos of your own with labels in COCO's format."""
    sbd = "sbd"
    """The Semantic Boundaries Dataset as it unpacks: masks of PASCAL's objects as .mat files."""


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


class ClassifierKind(StrEnum):
    eps = "eps"
    """C + 1 maps under joint supervision of tags and saliency."""
    cam = "cam"
    """C maps from tags alone: the baseline."""


class TrunkHead(StrEnum):
    prototypes = "prototypes"
    """A pyramid and a prototype head at stride 4, which the segmenter shares."""
    identity = "identity"
    """None: the backbone's last features are the prototypes (the paper's)."""


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


class AugmentKind(StrEnum):
    crop = "crop"
    """Random size, flip, colour jitter, crop."""
    yolact = "yolact"
    """YOLACT's: colour jitter, expansion, sampled crop, flip, and all of what is left resized to `image_size`."""


class CRFBackend(StrEnum):
    none = "none"
    pydensecrf = "pydensecrf"


class CRFBackground(StrEnum):
    """What stands for the background beside the classes' scores when a CRF refines them."""

    constant = "constant"
    """The threshold, all scores of a pixel made to sum to 1."""
    alpha = "alpha"
    """(1 - best score) ^ alpha, without a threshold, scores as they are (PSA; Ahn and Kwak, CVPR 2018)."""


class Supervision(StrEnum):
    pseudo = "pseudo"
    """Pseudo-masks of stage 2."""
    truth = "truth"
    """True masks: the upper bound."""


class SegmenterKind(StrEnum):
    yolact = "yolact"
    """Instances and a semantic map, on stage 1's prototype head."""
    deeplab = "deeplab"
    """A semantic map alone, as in EPS's paper: reads `deeplab`, no key about trunk, anchors or instances."""


class SegmenterDesign(StrEnum):
    shared = "shared"
    """Ours: semantic maps are combinations of stage 1's planes, the box head normalises the levels it trained."""
    released = "released"
    """YOLACT's own: semantic maps are a convolution of P3, nothing is normalised, new layers start by Xavier's rule."""


class ResNet(StrEnum):
    resnet50 = "resnet50"
    resnet101 = "resnet101"


class Subject(StrEnum):
    pseudo_masks = "pseudo_masks"
    segmenter = "segmenter"


class OutputFormat(StrEnum):
    auto = "auto"
    """Of predict: picture for photos, video for a video or camera; png for split:NAME, for a CRF and for DeepLab."""
    picture = "picture"
    """Photos with masks, outlines, boxes, names and scores drawn in."""
    video = "video"
    """The same as an mp4 file: for videos and cameras."""
    prototypes = "prototypes"
    """Sheets that show the prototype planes of a photo, and how one instance's mask is made of them."""
    png = "png"
    """Semantic masks: palette PNGs, class index + 1."""
    voc = "voc"
    """The same in the folders that PASCAL VOC's test server wants."""
    coco = "coco"
    """Instances in one results file of COCO's: boxes, RLE masks, scores."""
    onnx = "onnx"
    """Of export: a network for onnxruntime, OpenCV and others."""
    torch = "torch"
    """Of export: a program for torch.export.load."""


class ExportBatch(StrEnum):
    squeezed = "squeezed"
    """One photo at a time, outputs without a batch dimension."""
    kept = "kept"
    """One photo at a time, outputs with a batch dimension of 1."""
    dynamic = "dynamic"
    """Any number of photos at once."""


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
    tags: str
    """What holds the tags, below root or absolute: a json, a csv, the folder of VOC's xml files or of COCO's json
    files, or (voc12) a file like EPS's cls_labels.npy."""
    saliency: str
    """Folder of the saliency maps, below root or absolute."""
    truth: str
    """Folder of the true masks, or of COCO's json files, below root or absolute."""
    classes: list[str]
    """Of data=photos: the classes in order; empty for the labels of the csv, sorted."""
    difficult: bool
    """Of data=voc12: objects that the annotators marked difficult count as tags, as they do in EPS."""
    val_share: float
    """Of data=photos, and of data=coco with one json: share of the photos, chosen by a hash of their names, that is put
    aside as the split val."""
    download: bool
    """Of data=voc12: eps.prepare fetches it into root where it is missing."""
    check_truth: bool
    """eps.prepare also checks the true masks that there are."""
    index: str
    """Folder for what eps.prepare finds out; auto: in runs/data, one for each dataset and its settings."""
    train: str
    """Split that stages 1 to 3 learn from."""
    scored: str
    """Split of photos that stage 2 labels on which the pseudo-masks are scored."""
    val: str
    """Split that stage 3 is scored on."""
    also: list[str]
    """Further splits to score the segmenter on."""
    sizes: dict[str, int]
    """Scenes in each split of the embedded benchmark; empty for other data."""
    size: int
    """Side of the embedded benchmark's scenes in pixels; 0 for other data."""


@dataclass(kw_only=True, slots=True)
class SaliencyConfig:
    kind: SaliencyKind
    model: str
    """The ONNX file of kind onnx."""
    session: str
    """The network of kind rembg, by rembg's name."""
    size: list[int]
    """Height and width that photos are resized to for the network."""
    scale: ValueScale
    mean: list[float]
    """Taken off the values, in units of `scale` and in the order of `channels`."""
    std: list[float]
    """What the values are then divided by."""
    layout: TensorLayout
    channels: ChannelOrder
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


@dataclass(kw_only=True, slots=True)
class InstanceAugmentConfig(AugmentConfig):
    kind: AugmentKind
    """With yolact, `crop` and `long_side` are not used; each jitter, and the expansion, happens half the time."""
    expand: float
    """Of kind yolact: photos are put on a canvas of the mean colour, up to so many times as large."""
    crop_overlap: bool
    """Of kind yolact: a crop must overlap an object by the IoU that was drawn for it (SSD). In the released code this
    test never rejects, and its author found that repairing it halves the AP."""
    min_side: float
    """Instances whose box is narrower or lower than so many pixels of the augmented photo are dropped."""


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
    dropout: float
    """Rate at which whole prototypes drop out before they are combined."""
    steps: int
    batch: int
    optim: OptimConfig
    augment: AugmentConfig


@dataclass(kw_only=True, slots=True)
class CRFConfig:
    """Kernels of the dense CRF (Kraehenbuehl and Koltun, 2011): widths in pixels and grey levels, weights."""

    iterations: int
    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float


@dataclass(kw_only=True, slots=True)
class PseudoMasksConfig:
    checkpoint: str
    """A classifier of ours or one that EPS has released (.pth); empty for the run's own."""
    scales: list[float]
    flip: bool
    threshold: float | str
    """Background score in 0..1, or `auto`: the one that agrees best with saliency. Unused by a CRF with alpha."""
    ignore_band: float
    """Scores this near to the threshold, or to the next class, become 255."""
    crf: CRFBackend
    crf_background: CRFBackground
    crf_alpha: float
    """Of `crf_background=alpha`: a larger one leaves less to the background."""
    crf_parameters: CRFConfig
    min_area: int
    """Smallest instance in pixels."""
    save_scores: bool


@dataclass(kw_only=True, slots=True)
class DeepLabConfig:
    backbone: ResNet
    weights: str
    """Of the backbone: imagenet | file:PATH | none"""
    frozen_norm: bool
    """Keep batch norms at their stored statistics, the backbone's at their scales too: for batches of few photos."""
    scale: list[float]
    """Smallest and largest size of a training photo as a multiple of its own, in place of `augment.long_side`."""
    test_scales: list[float]
    """Sizes of a photo that its semantic map is averaged over, as multiples of its own."""
    test_flip: bool
    """Average over the photo's mirror image, too."""


@dataclass(kw_only=True, slots=True)
class SegmenterConfig:
    kind: SegmenterKind
    supervision: Supervision
    warm_start: bool
    """Start trunk and class coefficients from stage 1's."""
    weights: str
    """What training goes on from: none, or released:<model>_<epoch>_<iteration>.pth, whose classes are adapted."""
    design: SegmenterDesign
    image_size: list[int]
    """Height and width that photos are resized to."""
    scales: list[list[float]]
    """Anchor scales in pixels, one list a level from P3."""
    ratios: list[float]
    square_anchors: bool
    """Anchors as high as they are wide, whatever their ratio (the released YOLACT models of v1)."""
    mask_iou: bool
    """With YOLACT++'s net that rates masks."""
    paste: float
    """Probability that a training photo is given instances of another photo."""
    box_weight: float
    class_weight: float
    mask_weight: float
    semantic_weight: float
    mask_iou_weight: float
    masks_per_image: int
    """So many anchors of a photo, drawn at random, learn masks."""
    steps: int
    batch: int
    optim: OptimConfig
    augment: InstanceAugmentConfig
    score_threshold: float
    nms_iou: float
    max_detections: int
    cross_class: bool
    """Whether a box suppresses those of other classes too; at most 200 detections."""
    deeplab: DeepLabConfig


@dataclass(kw_only=True, slots=True)
class EvaluateConfig:
    subject: Subject
    splits: list[str]
    thresholds: list[float]
    """Also score the pseudo-masks' stored maps at these background thresholds, in ascending order and one pass: curves
    of mIoU (an oracle: it reads truth) and of agreement with saliency (free of truth), and the best by truth. Empty:
    none."""
    boundary_tolerance: float
    """How far from a true boundary a predicted one is still right, in pixels."""
    pairs: list[list[str]]
    """Confusion ratios to report, as [target,coincident] class names: pixels of `coincident` that are taken for
    `target`, per pixel of `target` that is found (EPS). `background` is a name too. Empty: none."""


@dataclass(kw_only=True, slots=True)
class PredictConfig:
    classes: list[str]
    """Names of the classes to look for; empty for all."""
    score_threshold: float
    """Instances of a lower score are not drawn (formats picture and video); files keep those that
    `segmenter.score_threshold` lets pass."""
    top_k: int
    """At most so many instances are drawn in a photo, the best ones."""
    batch: int
    """Photos at once in the network."""
    frames: int
    """Of a video or camera: stop after so many pictures; 0 for all."""
    instance: int
    """Of format=prototypes: the instance to take apart, 0 for the best one of each photo."""
    benchmark: int
    """Write nothing but how long a photo takes, over so many runs; 0 for no benchmark."""
    crf: CRFBackend
    """Refines semantic masks; for formats png and voc."""
    crf_parameters: CRFConfig


@dataclass(kw_only=True, slots=True)
class ExportConfig:
    checkpoint: str
    """A segmenter's folder or model.safetensors, or a released .pth; empty: this run's."""
    batch: ExportBatch
    semantic: bool
    """Also an output `semantic`, after the others: logits (h x w x classes + 1) of the semantic map, background first.
    """


@dataclass(kw_only=True, slots=True)
class RuntimeConfig:
    device: Device
    precision: Precision
    workers: int
    threads: int
    """CPU threads; 0 for one a core."""
    checkpoint_every: int
    """Steps between resumable states; 0 for none."""
    max_bad_steps: int
    """So many training steps whose loss or gradient is not finite are skipped, and told with their photos; one more
    ends the run."""


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
    predictions: str
    """For evaluate: a folder of predicted PNGs, of any project, to score in place of what this run has made."""
    truth: str
    """For `predictions`: the folder of true PNGs (class index + 1, 0 background, 255 ignored)."""
    ids: str
    """For `predictions`: a list of ids, one a line, that must all be there. Empty: every PNG in the folder."""
    classes: Any
    """For `predictions`: voc, coco, a list of names, or how many there are, background not counted."""
    format: OutputFormat
    """What predict writes (auto, picture, video, prototypes, png, voc, coco), or export (onnx, torch)."""
    source: str
    """Of predict: a photo, a folder of photos, a .txt file of paths (one a line, relative to it), split:NAME of the
    dataset, a video, an address of a stream, or a camera's number."""
    model: str
    """Of predict: a segmenter's folder or model.safetensors, a released .pth, or an .onnx file of export; empty: this
    run's segmenter."""
    data: DataConfig
    saliency: SaliencyConfig
    trunk: TrunkConfig
    classifier: ClassifierConfig
    pseudo_masks: PseudoMasksConfig
    segmenter: SegmenterConfig
    evaluate: EvaluateConfig
    predict: PredictConfig
    export: ExportConfig
    runtime: RuntimeConfig
    sweep: SweepConfig

    def output(self, artifact: str) -> Path:
        """Where this job writes an artifact (`classifier`, `pseudo_masks`, `segmenter`, `report`, ...)."""
        return Path(self.out_dir) / artifact

    def input(self, artifact: str) -> Path:
        """Where this job reads an artifact: its own folder if it lies there, else the run's."""
        own = self.output(artifact)
        return own if own.exists() else Path(self.run_dir) / artifact
