"""labelme's files: one json a photo, with shapes in pixels, and often the photo itself inside."""

import base64
import json
import math
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from pycocotools import mask as coco_mask

from eps.data.annotations.records import AnnotatedObject, AnnotatedPhoto, Report, label_of, photo_id
from eps.data.annotations.source import SourcePhotos, inside
from eps.data.coco_segmentation import checked_segmentation
from eps.data.images import decode_image, read_header
from eps.errors import UserError
from eps.ops.rle import encode_rle

LINES: Final = ("line", "linestrip", "point", "points")
"""Shapes without an area."""
RESERVED: Final = ("__ignore__", "_background_")
"""Labels that labelme's own tools take for no class."""
ROUNDNESS = 0.1
"""Pixels that the outline of a circle may lie inside it."""

Size = tuple[int, int]


class _Part(NamedTuple):
    """One shape: polygons, or a mask."""

    label: str
    group: str
    outline: list[list[float]] | Bool[np.ndarray, "H W"]


class _Photo(NamedTuple):
    image: Path | bytes
    name: str
    format: str
    size: Size


def read_labelme(path: Path, photos: SourcePhotos, report: Report) -> AnnotatedPhoto | None:
    """The photo and the objects of a json of labelme's; None where it is another json, or faults make it useless.

    Shapes of one label and `group_id` are one object. All that is wrong goes into the report.
    """
    content = _content(path, report)
    if content is None:
        return None
    try:
        photo = _photo(path, content, photos)
        photo_name = photo_id(photo.name)
    except (UserError, ValueError) as error:
        report.fault(str(error) if str(error).startswith(str(path)) else f"{path}: {error}")
        return None
    if fault := _size_fault(content, photo):
        report.fault(f"{path}: {fault}")
    groups: dict[str, list[_Part]] = {}
    for number, shape in enumerate(content["shapes"], start=1):
        part = _part(shape, number, photo.size, path, report)
        if part is not None:
            groups.setdefault(part.group, []).append(part)
    objects = [_joined(parts, photo.size) for parts in groups.values()]
    for found in objects:
        if not found.area:
            report.note("objects without a pixel in the photo are left out", f"{path} ({found.label})")
    return AnnotatedPhoto(
        id=photo_name,
        size=photo.size,
        image=photo.image,
        format=photo.format,
        file=path,
        objects=tuple(found for found in objects if found.area),
        tags=_flags(content, path, report),
    )


def _content(path: Path, report: Report) -> Mapping[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        report.fault(f"{path} is not JSON: {error}")
        return None
    if not isinstance(content, dict) or "shapes" not in content:
        report.note("json files are not labelme's and are left out", str(path))
        return None
    if not isinstance(content["shapes"], list):
        report.fault(f"{path}: its shapes are no list")
        return None
    return content


def _photo(path: Path, content: Mapping[str, Any], photos: SourcePhotos) -> _Photo:
    """The photo's file, or what stands of it in the json. Raises `UserError` or ValueError where there is neither."""
    named = content.get("imagePath")
    name = named if isinstance(named, str) else ""
    found = (photos.find(path, name) if name else None) or photos.find_stem(path)
    if found is not None:
        header = read_header(found, name=f"{path}: {found}")
        return _Photo(found, photos.name_of(found), *header)
    written = name.replace("\\", "/")
    place = inside(posixpath.join(posixpath.dirname(photos.name_of(path)), written)) if written else None
    if not content.get("imageData"):
        if written and place is None:
            raise ValueError(f"its photo {name!r} lies outside of the source: give the folder that holds both")
        raise ValueError(f"its photo {name!r} is missing, and it has no imageData")
    return _embedded(path, content["imageData"], name=place or photos.name_of(path))


def _embedded(path: Path, data: Any, *, name: str) -> _Photo:
    if not isinstance(data, str):
        raise ValueError("its imageData are no text")
    try:
        held = base64.b64decode(data)
    except ValueError as error:
        raise ValueError(f"its imageData cannot be read: {error}") from error
    return _Photo(held, name, *read_header(held, name=f"{path}: the photo in its imageData"))


def _size_fault(content: Mapping[str, Any], photo: _Photo) -> str | None:
    """What the file says of the photo's size, where that is something else."""
    stated = tuple(content.get(key) for key in ("imageHeight", "imageWidth"))
    if None in stated or stated == photo.size:
        return None
    height, width = photo.size
    turned = "; they are swapped, or EXIF data turn the photo" if stated == (width, height) else ""
    return f"imageWidth and imageHeight are {stated[1]} and {stated[0]}, its photo is {width}x{height}{turned}"


def _flags(content: Mapping[str, Any], path: Path, report: Report) -> tuple[str, ...]:
    """The photo's own flags that are set: tags."""
    flags = content.get("flags") or {}
    try:
        return tuple(label_of(name) for name, value in flags.items() if value is True)
    except (ValueError, AttributeError) as error:
        report.fault(f"{path}: its flags: {error}")
        return ()


def _part(shape: Any, number: int, size: Size, path: Path, report: Report) -> _Part | None:
    """One shape, or None where it is left out, or wrong."""
    where = f"{path} shape {number}"
    try:
        if not isinstance(shape, dict):
            raise ValueError("is no record")
        if shape.get("label") in RESERVED:
            report.note(f"shapes called {shape['label']} are left out", where)
            return None
        label = label_of(shape.get("label"))
        kind = shape.get("shape_type") or "polygon"
        if kind in LINES:
            report.note(f"shapes of the kind {kind}, which has no area, are left out", f"{where} ({label})")
            return None
        if not isinstance(kind, str) or kind not in _OUTLINES:
            raise ValueError(f"of the unknown kind {kind!r}; known are {', '.join([*_OUTLINES, *LINES])}")
        outline = _OUTLINES[kind](shape, size)
        if isinstance(outline, list):
            checked_segmentation(outline, height=size[0], width=size[1])
    except (UserError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
        report.fault(f"{where}: {reason}")
        return None
    group = shape.get("group_id")
    alone = f"#{number}" if group is None else json.dumps([label, group])
    return _Part(label, alone, outline)


def _polygon(shape: Mapping[str, Any], size: Size) -> list[list[float]]:
    return [_points(shape).ravel().tolist()]


def _rectangle(shape: Mapping[str, Any], size: Size) -> list[list[float]]:
    points = _points(shape)
    if len(points) == 4:  # some versions write all corners
        return [points.ravel().tolist()]
    (x1, y1), (x2, y2) = _pair(points, "two corners")
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def _circle(shape: Mapping[str, Any], size: Size) -> list[list[float]]:
    (x, y), (rim_x, rim_y) = _pair(_points(shape), "its centre and a point of its rim")
    radius = math.hypot(rim_x - x, rim_y - y)
    if radius > 2 * max(size):
        raise ValueError("a circle leaves the photo far behind")
    count = 12 if radius < 1 else max(12, math.ceil(math.pi / math.acos(1 - ROUNDNESS / radius)))
    angles = np.arange(count) * (2 * math.pi / count)
    return [np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1).ravel().tolist()]


def _mask(shape: Mapping[str, Any], size: Size) -> Bool[np.ndarray, "H W"]:
    """A bitmap within a box, of which the last row and column count."""
    (x1, y1), (x2, y2) = _pair(_points(shape), "two corners")
    bitmap = np.asarray(decode_image(base64.b64decode(shape["mask"]), name="its mask").convert("L")) > 0
    left, top = round(x1), round(y1)
    height, width = round(y2) - top + 1, round(x2) - left + 1
    if bitmap.shape != (height, width):
        raise ValueError(f"its mask is {bitmap.shape[1]}x{bitmap.shape[0]}, its box {width}x{height}")
    if left < 0 or top < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError("its mask sticks out of the photo")
    whole = np.zeros(size, dtype=bool)
    whole[top : top + height, left : left + width] = bitmap
    return whole


_OUTLINES: Final[Mapping[str, Callable[[Mapping[str, Any], Size], Any]]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": _polygon,
    "rotation": _polygon,
    "circle": _circle,
    "mask": _mask,
}


def _points(shape: Mapping[str, Any]) -> Float[np.ndarray, "p 2"]:
    points = np.array(shape["points"], dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError("its points are not pairs of numbers [x, y]")
    return points


def _pair(points: Float[np.ndarray, "p 2"], what: str) -> list[list[float]]:
    if len(points) != 2:
        raise ValueError(f"it needs two points, {what}, not {len(points)}")
    pair: list[list[float]] = points.tolist()
    return pair


def _joined(parts: Sequence[_Part], size: Size) -> AnnotatedObject:
    """The shapes of one group as one object: polygons stay polygons."""
    height, width = size
    outlines = [part.outline for part in parts]
    segmentation: Any = [polygon for outline in outlines if isinstance(outline, list) for polygon in outline]
    if any(not isinstance(outline, list) for outline in outlines):
        whole = [_filled(outline, size) if isinstance(outline, list) else outline for outline in outlines]
        segmentation = encode_rle(np.any(whole, axis=0))
    lengths = checked_segmentation(segmentation, height=height, width=width)
    x, y, w, h = (float(side) for side in coco_mask.toBbox(lengths))
    return AnnotatedObject(
        label=parts[0].label, segmentation=segmentation, box=(x, y, w, h), area=float(coco_mask.area(lengths))
    )


def _filled(polygons: list[list[float]], size: Size) -> Bool[np.ndarray, "H W"]:
    return np.asarray(coco_mask.decode(checked_segmentation(polygons, height=size[0], width=size[1])), dtype=bool)
