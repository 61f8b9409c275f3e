"""Annotated photos as a folder that data=coco trains on, and data=folder takes its tags from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eps.data.annotations.records import AnnotatedObject, AnnotatedPhoto
from eps.data.annotations.source import is_kept, suffix_of
from eps.data.artifacts import write_json
from eps.data.folder import write_listing
from eps.data.images import decode_image, is_turned
from eps.data.listing import set_aside
from eps.data.unfinished import keep

ANNOTATIONS = "instances.json"
"""COCO's format."""


def write_photo(target: Path, photo: AnnotatedPhoto, *, folder: str = "JPEGImages") -> None:
    """Put a photo into a folder: JPEGs and PNGs as they are (a file as a link where the disk has them).

    One that is turned by its EXIF data is written upright, as masks are: not every tool looks there. Raises `UserError`
    where it cannot be read.
    """
    place = target / folder / file_name(photo)
    place.parent.mkdir(parents=True, exist_ok=True)
    name = f"{photo.file}: its photo"
    if not is_kept(photo.format):
        decode_image(photo.image, name=name).convert("RGB").save(place, format="PNG")
    elif is_turned(photo.image, name=name):
        decode_image(photo.image, name=name).save(place, format=photo.format, quality=95)
    elif isinstance(photo.image, bytes):
        place.write_bytes(photo.image)
    else:
        keep(photo.image, place)


def write_annotations(
    target: Path, photos: Sequence[AnnotatedPhoto], *, classes: Sequence[str], val_share: float
) -> None:
    """Write `instances.json`, and `image_labels.json` with lists of the splits: the same ones that data=coco makes."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, photo in enumerate(photos, start=1):
        height, width = photo.size
        images.append({"id": number, "file_name": file_name(photo), "height": height, "width": width})
        first = len(annotations) + 1
        annotations += [
            {"id": first + k, "image_id": number, "category_id": classes.index(found.label) + 1, **_facts(found)}
            for k, found in enumerate(photo.objects)
        ]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    write_json(target / ANNOTATIONS, {"images": images, "annotations": annotations, "categories": categories})
    write_tags(target, photos, classes=classes, val_share=val_share)


def write_tags(target: Path, photos: Sequence[AnnotatedPhoto], *, classes: Sequence[str], val_share: float) -> None:
    """Write `image_labels.json` and the lists of the splits in `ImageSets/Segmentation/`."""
    labels = {photo.id: _tags(photo, classes) for photo in photos}
    write_listing(target, classes=classes, labels=labels, splits=divided(photos, val_share))


def divided(photos: Sequence[AnnotatedPhoto], val_share: float) -> dict[str, tuple[str, ...]]:
    """The splits of annotated photos: by another chance than their dataset's, which may have put some aside before."""
    return set_aside([photo.id for photo in photos], val_share, chance="labels ")


def file_name(photo: AnnotatedPhoto) -> str:
    """What a photo's file is called below the folder of the photos."""
    return f"{photo.id}{suffix_of(photo.format)}"


def _facts(found: AnnotatedObject) -> dict[str, Any]:
    """What COCO's format has of an object; one of which only the box is known has an empty segmentation."""
    return {
        **found.facts,
        "segmentation": [] if found.segmentation is None else found.segmentation,
        "bbox": list(found.box),
        "area": found.area,
        "iscrowd": int(found.crowd),
    }


def _tags(photo: AnnotatedPhoto, classes: Sequence[str]) -> list[str]:
    present = {*photo.tags, *(found.label for found in photo.objects)}
    return [name for name in classes if name in present]
