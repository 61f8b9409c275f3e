"""What is written for others to use: `format`, `predict` and `export`."""

from dataclasses import dataclass
from enum import StrEnum

from eps.schema.crf import CRFBackend, CRFConfig


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
    """The same in the folders that PASCAL VOC's test server wants. Of export: masks of classes and objects, and XML."""
    coco = "coco"
    """Instances in one results file of COCO's: boxes, RLE masks, scores. Of export: photos and their annotations."""
    yolo = "yolo"
    """Of export: photos and outlines, a text file each, as Ultralytics' segmentation models learn from."""
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


class ExportedLabels(StrEnum):
    pseudo_masks = "pseudo_masks"
    """Of the run's stage 2, with the photos that it has labelled."""
    predictions = "predictions"
    """Of a segmenter, on `source`: what is surer than `predict.score_threshold`, at most `predict.top_k` a photo."""


class Outlines(StrEnum):
    rle = "rle"
    """Run lengths: the masks, pixel by pixel."""
    polygons = "polygons"
    """For tools that edit corners: holes are filled."""


class Drawn(StrEnum):
    masks = "masks"
    """With their outlines."""
    boxes = "boxes"
    names = "names"
    scores = "scores"
    fps = "fps"
    """Pictures a second, in the upper left corner."""


@dataclass(kw_only=True, slots=True)
class PredictConfig:
    classes: list[str]
    """Names of the classes to look for; empty for all."""
    score_threshold: float
    """Instances of a lower score are not drawn (formats picture and video); files keep those that
    `segmenter.score_threshold` lets pass."""
    top_k: int
    """At most so many instances are drawn in a photo, the best ones."""
    draw: list[Drawn]
    """What formats picture and video show of an instance."""
    batch: int
    """Photos at once in the network."""
    frames: int
    """Stop after so many pictures of a video or camera, or so many photos; 0 for all."""
    shuffle: bool
    """Take photos in an order drawn by `seed`: with `frames`, a sample of them."""
    instance: int
    """Of format=prototypes: the instance to take apart, 0 for the best one of each photo."""
    benchmark: int
    """Write nothing but how long a photo takes, over so many runs; 0 for no benchmark."""
    crf: CRFBackend
    """Refines semantic masks; for formats png and voc."""
    crf_parameters: CRFConfig


@dataclass(kw_only=True, slots=True)
class ExportConfig:
    batch: ExportBatch
    """How many photos the exported network takes."""
    semantic: bool
    """Also an output `semantic`, after the others: logits (h x w x classes + 1) of the semantic map, background first.
    """
    labels: ExportedLabels
    """Of formats coco, yolo and voc: whose masks are written for other tools."""
    outlines: Outlines
    """Of format=coco: how objects are outlined; uncertain ones by run lengths in any case."""
    tolerance: float
    """Of polygons: corners nearer than so many pixels to the edge between others are left out; 0 keeps all."""
    val_share: float
    """Of formats coco, yolo and voc: share of the photos, chosen by a hash of their names, that is listed as val."""
