"""The files that we write: the only place that knows their formats.

Everything is written under a temporary name and renamed, so that a half-written file never counts.
"""

import hashlib
import json
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
from eps.data.images import read_image
from eps.data.palette import label_image
from eps.errors import UserError
from eps.ops.extents import extent
from eps.ops.rle import decode_rle, encode_rle


def file_hash(path: Path) -> str:
    """The SHA-256 of what a file holds, in hex."""
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
    except ValueError as error:
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


def read_scores(path: Path) -> Float[np.ndarray, "c H W"]:
    """Read what `write_scores` wrote, as float32. Raises `UserError` where it is missing or broken."""
    if not path.is_file():
        raise UserError(f"{path} is missing: run eps.pseudo_masks with pseudo_masks.save_scores=true")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            scores = np.zeros(content["shape"], dtype=np.float32)
            scores[content["present"]] = content["scores"]
    except (OSError, EOFError, ValueError, KeyError, MemoryError, BadZipFile) as error:
        raise UserError(f"{path} is damaged: remove it, and eps.pseudo_masks makes the maps anew") from error
    return scores


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
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
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
