"""Annotated photos as Ultralytics' segmentation models read them: photos, a text file of outlines each, data.yaml."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from eps.data.annotations.masks import outlines_of
from eps.data.annotations.records import AnnotatedPhoto
from eps.data.annotations.writer import divided, write_photo
from eps.ops.polygons import joined

DATA = "data.yaml"


def write_yolo(
    target: Path, photos: Sequence[AnnotatedPhoto], *, classes: Sequence[str], val_share: float, tolerance: float
) -> None:
    """Write `images/<split>/`, `labels/<split>/<id>.txt` and `data.yaml`, whose paths are seen from where it lies.

    A line is an object: its class from 0, then the corners of its outline as shares of the photo's width and height.
    An object of several parts has one outline all the same, from part to part and back.
    """
    splits = divided(photos, val_share)
    split_of = {photo: split for split, ids in splits.items() for photo in ids}
    for photo in photos:
        split = split_of[photo.id]
        write_photo(target, photo, folder=f"images/{split}")
        place = target / "labels" / split / f"{photo.id}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(_lines(photo, classes, tolerance)), encoding="utf-8")
    folders = {split: f"images/{split if split in splits else 'train'}" for split in ("train", "val")}
    content = {**folders, "names": dict(enumerate(classes))}
    (target / DATA).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _lines(photo: AnnotatedPhoto, classes: Sequence[str], tolerance: float) -> list[str]:
    lines = []
    for found in photo.objects:
        outlines = outlines_of(found, size=photo.size, tolerance=tolerance)
        if outlines:
            shares = np.clip(joined(outlines) / photo.size[::-1], 0, 1)
            corners = " ".join(f"{share:.6f}" for share in shares.ravel())
            lines.append(f"{classes.index(found.label)} {corners}\n")
    return lines
