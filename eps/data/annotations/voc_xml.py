"""VOC's XML of any classes, as labelImg and others write it: boxes, and masks where there are PNGs of them."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import UInt8

from eps.data.annotations.records import AnnotatedObject, AnnotatedPhoto, Report, label_of, photo_id
from eps.data.annotations.source import SourcePhotos
from eps.data.annotations.xml_file import read_xml_file
from eps.data.artifacts import read_mask
from eps.data.coco_checks import OUTSIDE
from eps.data.images import read_header
from eps.errors import UserError
from eps.ops.extents import extent
from eps.ops.pseudo_labels import IGNORE
from eps.ops.rle import encode_rle

ALIKE = 0.5
"""IoU that the box around a mask has with the object's at least: the mask is another's otherwise."""

Corners = tuple[float, float, float, float]


class _Object(NamedTuple):
    label: str
    corners: Corners
    """x1, y1, x2, y2 in pixels from 0, the far edges of the last pixels."""
    facts: dict[str, int]


def read_voc_xml(
    path: Path, photos: SourcePhotos, report: Report, *, difficult: bool, masks: Mapping[str, Path] | None
) -> AnnotatedPhoto | None:
    """The photo and the objects of a VOC annotation; None where faults make it useless.

    Objects marked difficult are crowds unless `difficult`. `masks` are PNGs by the photos' ids, whose k-th colour is
    the XML's k-th object (as in VOC's SegmentationObject). All that is wrong goes into the report.
    """
    try:
        root = read_xml_file(path)
        if root.tag != "annotation":
            raise UserError(f"{path} is no VOC annotation: its root is <{root.tag}>")
        found = _photo(path, root, photos)
        header, name = read_header(found, name=f"{path}: {found}"), photo_id(photos.name_of(found))
    except (UserError, ValueError) as error:
        report.fault(str(error) if str(error).startswith(str(path)) else f"{path}: {error}")
        return None
    if (stated := stated_size(root)) is not None and stated != header.size:
        said, there = (f"{width}x{height}" for height, width in (stated, header.size))
        report.fault(f"{path}: its size is {said}, its photo {found} is {there}; mend one")
        return None
    objects = [
        made
        for number, node in enumerate(root.findall("object"), start=1)
        if (made := _object(node, f"{path} object {number}", header.size, report)) is not None
    ]
    labels = _object_labels(name, header.size, path, masks, report)
    return AnnotatedPhoto(
        id=name,
        size=header.size,
        image=found,
        format=header.format,
        file=path,
        objects=tuple(_with_masks(objects, labels, path, report, difficult=difficult)),
    )


def stated_size(root: ElementTree.Element) -> tuple[int, int] | None:
    """(height, width) of the photo as a VOC annotation states it; None where it states none, or 0."""
    sides = [(root.findtext(f"size/{side}") or "").strip() for side in ("height", "width")]
    height, width = [int(side) if re.fullmatch("[0-9]{1,9}", side) else 0 for side in sides]
    return (height, width) if height and width else None


def _photo(path: Path, root: ElementTree.Element, photos: SourcePhotos) -> Path:
    name = (root.findtext("filename") or "").strip()
    if name and ".." in PurePosixPath(name.replace("\\", "/")).parts:
        raise ValueError(f"its photo {name!r} is no name of a file: paths with .. are not followed")
    found = (photos.find(path, name) if name else None) or photos.find_stem(path)
    if found is None:
        raise ValueError(f"its photo {name!r} is missing: looked for beside it and in JPEGImages/ and images/")
    return found


def _object(node: ElementTree.Element, where: str, size: tuple[int, int], report: Report) -> _Object | None:
    try:
        label = label_of(node.findtext("name"))
        corners = _corners(node, size)
    except ValueError as error:
        report.fault(f"{where}: {error}")
        return None
    if any(float(node.findtext(f"bndbox/{key}") or 1) < 1 for key in ("xmin", "ymin")):
        report.note(
            "boxes begin at 0, where VOC counts pixels from 1: if their tool counts from 0 all are a pixel off", where
        )
    marks = {key: (node.findtext(key) or "").strip() for key in ("difficult", "truncated", "occluded")}
    return _Object(label, corners, {key: 1 for key, mark in marks.items() if mark == "1"})


def _corners(node: ElementTree.Element, size: tuple[int, int]) -> Corners:
    """VOC counts pixels from 1 and the last one in. Raises ValueError for a box that is none, or not in the photo."""
    texts = [(node.findtext(f"bndbox/{key}") or "").strip() for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = (float(text) for text in texts)
    except ValueError as error:
        raise ValueError(f"its bndbox needs the numbers xmin, ymin, xmax and ymax, not {texts}") from error
    if not all(math.isfinite(side) for side in (x1, y1, x2, y2)) or x2 < x1 or y2 < y1:
        raise ValueError(f"its bndbox {texts} has no area: xmin, ymin must not be above xmax, ymax")
    height, width = size
    box = (x1 - 1, y1 - 1, x2, y2)
    if box[0] < -OUTSIDE or box[1] < -OUTSIDE or x2 > width + OUTSIDE or y2 > height + OUTSIDE:
        raise ValueError(f"its bndbox {texts} sticks out of its photo of {width}x{height}")
    clipped = (max(0.0, box[0]), max(0.0, box[1]), min(float(width), x2), min(float(height), y2))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise ValueError(f"its bndbox {texts} has no pixel in its photo of {width}x{height}")
    return clipped


def _object_labels(
    photo: str, size: tuple[int, int], path: Path, masks: Mapping[str, Path] | None, report: Report
) -> UInt8[np.ndarray, "H W"] | None:
    """The numbers of the objects, pixel by pixel; None where there is no PNG of this photo."""
    if masks is None:
        return None
    if photo not in masks:
        report.note("photos have no PNG of masks: boxes alone are used", str(path))
        return None
    try:
        labels = read_mask(masks[photo])
    except UserError as error:
        report.fault(f"{path}: {error}")
        return None
    if labels.shape != size:
        there, wanted = (f"{width}x{height}" for height, width in (labels.shape, size))
        report.fault(f"{path}: {masks[photo]} is {there}, its photo {wanted}; mend one")
        return None
    return labels


def _with_masks(
    objects: Sequence[_Object],
    labels: UInt8[np.ndarray, "H W"] | None,
    path: Path,
    report: Report,
    *,
    difficult: bool,
) -> list[AnnotatedObject]:
    made = []
    for number, found in enumerate(objects, start=1):
        mask = None if labels is None or number >= IGNORE else labels == number
        if mask is not None and _iou(extent(mask), found.corners) < ALIKE:
            report.note("objects have no mask that fits their box: the box alone is used", f"{path} ({found.label})")
            mask = None
        x1, y1, x2, y2 = found.corners
        made.append(
            AnnotatedObject(
                label=found.label,
                segmentation=None if mask is None else encode_rle(mask),
                box=(x1, y1, x2 - x1, y2 - y1),
                area=(x2 - x1) * (y2 - y1) if mask is None else float(mask.sum()),
                crowd="difficult" in found.facts and not difficult,
                facts=found.facts,
            )
        )
    return made


def _iou(one: tuple[int, int, int, int], other: Corners) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other)]
    return shared / (sum(areas) - shared)
