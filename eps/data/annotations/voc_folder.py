"""Annotated photos in the folders of PASCAL VOC: XML, and PNGs of classes and of objects."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import UInt8

from eps.data.annotations.masks import mask_of
from eps.data.annotations.records import AnnotatedObject, AnnotatedPhoto
from eps.data.annotations.writer import file_name, write_photo, write_tags
from eps.data.artifacts import write_mask
from eps.ops.pseudo_labels import IGNORE


def write_voc(
    target: Path,
    photos: Sequence[AnnotatedPhoto],
    *,
    classes: Sequence[str],
    val_share: float,
    semantic: Mapping[str, Path],
) -> None:
    """Write `JPEGImages/`, `Annotations/`, `SegmentationClass/`, `SegmentationObject/` and the lists of the splits.

    The k-th object of an XML has label k in its photo's `SegmentationObject`; where objects overlap, the first lies on
    top. `semantic` are PNGs of classes by photo that are there already; others are painted of the objects. A crowd is
    marked difficult. `image_labels.json` beside them makes it a folder that data=folder reads, too.
    """
    for photo in photos:
        write_photo(target, photo)
        _write_xml(target / "Annotations" / f"{photo.id}.xml", photo)
        write_mask(target / "SegmentationObject" / f"{photo.id}.png", _painted(photo, range(1, len(photo.objects) + 1)))
        place = target / "SegmentationClass" / f"{photo.id}.png"
        if photo.id in semantic:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(semantic[photo.id], place)  # no link: it is there to be corrected
        else:
            write_mask(place, _painted(photo, [classes.index(found.label) + 1 for found in photo.objects]))
    write_tags(target, photos, classes=classes, val_share=val_share)


def _painted(photo: AnnotatedPhoto, labels: Sequence[int]) -> UInt8[np.ndarray, "H W"]:
    """A label for each object, the first on top; one that a PNG has no label for is left out."""
    painted = np.zeros(photo.size, dtype=np.uint8)
    for found, label in reversed(list(zip(photo.objects, labels, strict=True))):
        if label < IGNORE:
            painted[mask_of(found, size=photo.size)] = label
    return painted


def _write_xml(path: Path, photo: AnnotatedPhoto) -> None:
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", file_name(photo))
    size = ElementTree.SubElement(root, "size")
    for key, value in zip(("width", "height", "depth"), (photo.size[1], photo.size[0], 3), strict=True):
        _add(size, key, value)
    _add(root, "segmented", 1)
    for found in photo.objects:
        _add_object(root, found)
    ElementTree.indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def _add_object(root: ElementTree.Element, found: AnnotatedObject) -> None:
    """VOC counts pixels from 1, the last one of a box included."""
    node = ElementTree.SubElement(root, "object")
    _add(node, "name", found.label)
    _add(node, "difficult", int(found.crowd))
    x, y, width, height = found.box
    box = ElementTree.SubElement(node, "bndbox")
    for key, value in zip(("xmin", "ymin", "xmax", "ymax"), (x + 1, y + 1, x + width, y + height), strict=True):
        _add(box, key, f"{value:g}")


def _add(node: ElementTree.Element, key: str, value: object) -> None:
    ElementTree.SubElement(node, key).text = str(value)
