"""The files that we write: the only place that knows their formats.

Everything is written under a temporary name and renamed, so that a half-written file never counts.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from eps.data.atomic import replaced
from eps.data.coco_segmentation import checked_segmentation
from eps.data.files import demand_regular
from eps.data.images import MAX_PIXELS, read_image
from eps.data.palette import label_image
from eps.errors import UserError
from eps.ops.extents import extent
from eps.ops.rle import decode_rle, encode_rle

_NO_SCORES = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, OverflowError, RuntimeError, MemoryError),
    *(BadZipFile, zlib.error, struct.error),
)
"""What numpy and zipfile raise for files that are no archives of arrays."""


def file_hash(path: Path) -> str:
    """The SHA-256 of what a file holds, in hex."""
    demand_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_of(*inputs: Any) -> str:
    """The SHA-256 of dataclasses and texts, in hex: the same inputs, the same fingerprint."""
    texts = [text if isinstance(text, str) else repr(as_plain(text)) for text in inputs]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented and with sorted keys."""
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON. Raises `UserError` where the file is missing or broken."""
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def write_mask(path: Path, labels: UInt8[np.ndarray, "H W"]) -> None:
    """Write labels as a palette PNG in PASCAL VOC's colours, which any viewer opens."""
    with replaced(path) as temporary:
        label_image(labels).save(temporary, format="PNG")


def read_mask(path: Path) -> UInt8[np.ndarray, "H W"]:
    """Read the labels of a palette or grey PNG. Raises `UserError` for a missing file or colour image."""
    if not path.is_file():
        raise UserError(f"{path} is missing")
    image = read_image(path)
    if image.mode not in ("P", "L"):
        raise UserError(f"{path} is a {image.mode} image: masks are palette or grey PNGs of class indices")
    return np.array(image, dtype=np.uint8)


def write_saliency(path: Path, saliency: UInt8[np.ndarray, "H W"]) -> None:
    """Write a saliency map, 0..255, as a grey PNG."""
    with replaced(path) as temporary:
        Image.fromarray(saliency).save(temporary, format="PNG")


def write_scores(path: Path, scores: Float[np.ndarray, "c H W"]) -> None:
    """Write normalised localization maps at half precision; maps that are zero everywhere are left out."""
    present = np.flatnonzero(scores.any(axis=(1, 2)))
    with replaced(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, scores=scores[present].astype(np.float16), present=present, shape=np.array(scores.shape)
        )


def read_scores(
    path: Path, *, classes: int | None = None, size: tuple[int, int] | None = None
) -> Float[np.ndarray, "c H W"]:
    """Read what `write_scores` wrote, as float32.

    Raises `UserError` where it is missing or broken, or not of so many classes and this size (height, width).
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: run eps.pseudo_masks with pseudo_masks.save_scores=true")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            count, height, width = _shape_of_scores(content["shape"])
            _demand_shape(path, (count, height, width), classes=classes, size=size)
            present, stored = _checked_scores(content["present"], content["scores"], (count, height, width))
            scores = np.zeros((count, height, width), dtype=np.float32)
            scores[present] = stored
    except _NO_SCORES as error:
        raise UserError(f"{path} is damaged: remove it, and eps.pseudo_masks makes the maps anew") from error
    return scores


def _shape_of_scores(shape: np.ndarray) -> tuple[int, int, int]:
    """Classes, height and width. Raises ValueError for what no photo has."""
    if shape.shape != (3,) or shape.dtype.kind not in "iu" or shape.min() < 0:
        raise ValueError("no shape of maps")
    count, height, width = (int(side) for side in shape)
    if height * width > MAX_PIXELS:
        raise ValueError(f"maps of {height} x {width} pixels")
    return count, height, width


def _demand_shape(
    path: Path, shape: tuple[int, int, int], *, classes: int | None, size: tuple[int, int] | None
) -> None:
    count, height, width = shape
    if classes not in (None, count) or size not in (None, (height, width)):
        wanted = (count if classes is None else classes, *((height, width) if size is None else size))
        told = f"{path} has maps of (classes, height, width) {shape}, wanted are {wanted}"
        raise UserError(f"{told}: remove it, and eps.pseudo_masks makes the maps anew")


def _checked_scores(
    present: np.ndarray, stored: np.ndarray, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Class indices and their maps. Raises ValueError where they do not fit together or are no scores.

    Those of a class are 0..1; shared out anew between classes, as `adjust_shares` does, none is more than all were.
    """
    count, height, width = shape
    if present.ndim != 1 or present.dtype.kind not in "iu" or len(np.unique(present)) < len(present):
        raise ValueError("no list of classes")
    if not ((present >= 0) & (present < count)).all():
        raise ValueError("classes that are none")
    if stored.dtype.kind != "f" or stored.shape != (len(present), height, width):
        raise ValueError("maps of another shape")
    if not ((stored >= 0) & (stored <= count)).all():  # nor nan
        raise ValueError("values that are no scores")
    return present, stored


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledInstance:
    """An instance as `instances.json` keeps it: class from 0, mask at photo size, whether its outline is a guess."""

    class_index: int
    mask: Bool[np.ndarray, "H W"]
    uncertain: bool
    score: float = 1.0


def write_instances(
    path: Path,
    instances: Mapping[str, Sequence[LabelledInstance]],
    *,
    sizes: Mapping[str, tuple[int, int]],
    classes: Sequence[str],
) -> None:
    """Write instances of photos in COCO's format with RLE; an uncertain one is a crowd. Category ids are class + 1.

    `sizes` are the photos' (height, width).
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (photo, found) in enumerate(instances.items(), start=1):
        height, width = sizes[photo]
        images.append({"id": number, "file_name": photo, "height": height, "width": width})
        annotations += [
            _annotation(instance, image=number, number=len(annotations) + k)
            for k, instance in enumerate(found, start=1)
        ]
    categories = [{"id": c + 1, "name": name} for c, name in enumerate(classes)]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})


def read_instances(path: Path) -> dict[str, list[LabelledInstance]]:
    """Read what `write_instances` wrote: for each photo id its instances. Raises `UserError` for another content."""
    content = read_json(path)
    try:
        images = {image["id"]: image for image in content["images"]}
        found: dict[str, list[LabelledInstance]] = {str(image["file_name"]): [] for image in images.values()}
        for annotation in content["annotations"]:
            image = images[annotation["image_id"]]
            rle = checked_segmentation(annotation["segmentation"], height=image["height"], width=image["width"])
            if rle is None:
                raise ValueError("a segmentation without run lengths")
            found[str(image["file_name"])].append(
                LabelledInstance(
                    class_index=int(annotation["category_id"]) - 1,
                    mask=decode_rle(rle),
                    uncertain=bool(annotation["iscrowd"]),
                    score=float(annotation.get("score", 1.0)),
                )
            )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} does not hold instances in COCO's format with RLE: {error!r}") from error
    return found


def _annotation(instance: LabelledInstance, *, image: int, number: int) -> dict[str, Any]:
    x1, y1, x2, y2 = extent(instance.mask)
    return {
        "id": number,
        "image_id": image,
        "category_id": instance.class_index + 1,
        "segmentation": encode_rle(instance.mask),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(instance.mask.sum()),
        "iscrowd": int(instance.uncertain),
        "score": instance.score,
    }


def as_plain(record: Any) -> dict[str, Any]:
    """A dataclass as JSON can hold it: enums by value, paths as text, tuples as lists."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(record), default=str))
    return plain
