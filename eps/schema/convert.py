"""Annotations of other tools, made into COCO's format: `convert`."""

from dataclasses import dataclass
from enum import StrEnum


class AnnotationTool(StrEnum):
    labelme = "labelme"
    """labelme's json files: polygons, rectangles, circles, masks, groups, embedded photos, flags."""
    voc_xml = "voc_xml"
    """XML files like VOC's (labelImg and others): boxes of any classes, with PNGs of masks where there are some."""


@dataclass(kw_only=True, slots=True)
class ConvertConfig:
    tool: AnnotationTool
    """Whose files `source` holds."""
    out: str
    """The folder to write: data=coco data.root=OUT data.tags=instances.json reads it."""
    classes: list[str]
    """Their names, in order; objects of others are left out. Empty: all that are found, sorted."""
    val_share: float
    """Of the photos, put aside as the split val, chosen by a hash of their names."""
    masks: str
    """Of voc_xml: a folder of PNGs, below `source` or absolute, whose k-th colour is the k-th object of the XML
    (SegmentationObject). Empty: boxes alone."""
    difficult: bool
    """Of voc_xml: objects marked difficult are objects like others; else they are crowds, neither learnt nor missed."""
