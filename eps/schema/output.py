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
    semantic: bool
    """Also an output `semantic`, after the others: logits (h x w x classes + 1) of the semantic map, background first.
    """
