"""Stage 3: `segmenter`."""

from dataclasses import dataclass
from enum import StrEnum

from eps.schema.training import AugmentConfig, OptimConfig


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


class ReleasedNetwork(StrEnum):
    auto = "auto"
    """What the file's name says: <model>_<epoch>_<iteration>.pth."""
    config = "config"
    """What `segmenter` and `trunk` describe: a released network with another image_size, scales or backbone."""
    yolact_base = "yolact_base"
    yolact_resnet50 = "yolact_resnet50"
    yolact_darknet53 = "yolact_darknet53"
    yolact_im400 = "yolact_im400"
    yolact_im700 = "yolact_im700"
    yolact_resnet50_pascal = "yolact_resnet50_pascal"
    yolact_plus_base = "yolact_plus_base"
    yolact_plus_resnet50 = "yolact_plus_resnet50"


class SegmenterDesign(StrEnum):
    shared = "shared"
    """Ours: semantic maps are combinations of stage 1's planes, the box head normalises the levels it trained."""
    released = "released"
    """YOLACT's own: semantic maps are a convolution of P3, nothing is normalised, new layers start by Xavier's rule."""


class DeepLabBackbone(StrEnum):
    resnet50 = "resnet50"
    """torchvision's."""
    resnet101 = "resnet101"
    """torchvision's."""
    trunk = "trunk"
    """That of `trunk`, dilated: its network, weights, frozen parts, mean and std; any of timm's that can be."""


class AugmentKind(StrEnum):
    crop = "crop"
    """Random size, flip, colour jitter, crop."""
    yolact = "yolact"
    """YOLACT's: colour jitter, expansion, sampled crop, flip, and all of what is left resized to `image_size`."""


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
class DeepLabConfig:
    backbone: DeepLabBackbone
    """Whose last features the head labels."""
    output_stride: int
    """Of these features: 8, or for backbone=trunk also 16, which is a quarter of the work."""
    weights: str
    """Of a ResNet: imagenet | file:PATH | none; backbone=trunk starts from `trunk.weights`."""
    frozen_norm: bool
    """Keep batch norms at their stored statistics, the backbone's at their scales too: for batches of few photos. false
    leaves the backbone's to `trunk.frozen_norm` where backbone=trunk."""
    scale: list[float]
    """Smallest and largest size of a training photo as a multiple of its own, in place of `augment.long_side`."""
    test_scales: list[float]
    """Sizes of a photo that its semantic map is averaged over, as multiples of its own."""
    test_flip: bool
    """Average over the photo's mirror image, too."""


@dataclass(kw_only=True, slots=True)
class SegmenterConfig:
    kind: SegmenterKind
    """Which network is trained."""
    supervision: Supervision
    """What it learns masks from."""
    exclude: str
    """A list of ids, one a line, of photos that are not trained on, as `eps.app` writes it. Empty: none."""
    warm_start: bool
    """Start trunk and class coefficients from stage 1's."""
    weights: str
    """What training goes on from: none, or released:<model>_<epoch>_<iteration>.pth, whose classes are adapted."""
    start: int
    """Steps that these weights have behind them: the schedule goes on from there, and so many fewer are made."""
    design: SegmenterDesign
    """Of the parts that are not in YOLACT's paper: ours, or the released code's."""
    image_size: list[int]
    """Height and width that photos are resized to."""
    antialias: bool
    """Photos that shrink to `image_size` are smoothed on the way: in prediction, and in training by
    `augment.kind=yolact`. The released YOLACT was trained without."""
    scales: list[list[float]]
    """Anchor scales in pixels, one list a level from P3."""
    ratios: list[float]
    """Of the anchors: width to height."""
    square_anchors: bool
    """Anchors as high as they are wide, whatever their ratio (the released YOLACT models of v1)."""
    scaled_coefficients: bool
    """After a warm start (design=shared), mask coefficients as small as stage 1's planes are large: where these are
    tens large, the box head may learn nothing otherwise."""
    mask_iou: bool
    """With YOLACT++'s net that rates masks."""
    paste: float
    """Probability that a training photo is given instances of another photo."""
    box_weight: float
    """Of the loss of boxes."""
    class_weight: float
    """Of the loss of classes."""
    mask_weight: float
    """Of the loss of instance masks."""
    semantic_weight: float
    """Of the loss of the semantic map."""
    mask_iou_weight: float
    """Of the loss of the net that rates masks."""
    tag_weight: float
    """Of the loss of a head that tells a photo's tags from its coarsest features; once trained, the classes of anchors
    and pixels go by it too. 0: no such head. Needs `design=shared`."""
    masks_per_image: int
    """So many anchors of a photo, drawn at random, learn masks."""
    steps: int
    """Of training."""
    batch: int
    """Photos a step, of all processes together."""
    optim: OptimConfig
    augment: InstanceAugmentConfig
    score_threshold: float
    """Anchors whose best class scores no more are nothing, in every output."""
    nms_iou: float
    """A box that overlaps a better one of its class by more than this IoU is dropped."""
    max_detections: int
    """So many instances of a photo are kept, the best ones."""
    cross_class: bool
    """Whether a box suppresses those of other classes too; at most 200 detections, and at most `max_detections`."""
    deeplab: DeepLabConfig
