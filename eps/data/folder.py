"""Our own layout: JPEGImages, SALImages, ImageSets/Segmentation/*.txt and one `image_labels.json`."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eps.data.artifacts import write_json
from eps.data.listing import Form, Listing, Places, existing, list_files, read_lists, refuse_background, tag_fault
from eps.errors import UserError


def folder_form(root: Path, places: Places) -> Form:
    """A dataset folder of our layout. Raises `UserError` where the folder or its json is missing."""
    path = existing(root, holds="JPEGImages/") / places.tags
    if not path.is_file():
        raise UserError(f"{path} is missing: it names the classes and the tags of each photo (see docs/DATA.md)")
    return Form(
        kind="folder",
        root=root,
        places=places,
        sources=lambda: [path, *list_files(root)],
        read=partial(_read, root, path),
    )


def write_listing(
    root: Path, *, classes: Sequence[str], labels: Mapping[str, Sequence[str]], splits: Mapping[str, Sequence[str]]
) -> None:
    """Write the tags and the lists of the splits into a dataset folder of our layout."""
    write_json(root / "image_labels.json", {"classes": list(classes), "labels": labels})
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    for split, ids in splits.items():
        (lists / f"{split}.txt").write_text("".join(f"{photo}\n" for photo in ids), encoding="utf-8")


def _read(root: Path, path: Path) -> Listing:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        classes = tuple(str(c) for c in content["classes"])
        labels = {str(photo): _tags(photo, tags) for photo, tags in content["labels"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f'{path} is not of the form {{"classes": [...], "labels": {{"id": [...]}}}}: {error}'
        ) from error
    if not classes or len(set(classes)) < len(classes):
        raise UserError(f"{path}: classes must be a list of names, at least one and each of them once")
    refuse_background(classes, path)
    found = {photo: tag_fault(tags, classes) for photo, tags in labels.items()}
    faults = {photo: f"{path}: photo {photo!r} {fault}" for photo, fault in found.items() if fault}
    return Listing(classes=classes, labels=labels, splits=read_lists(root, str), faults=faults)


def _tags(photo: str, tags: Any) -> tuple[str, ...]:
    if not isinstance(tags, list):
        raise TypeError(f"the tags of photo {photo!r} are {tags!r}, not a list")
    return tuple(str(tag) for tag in tags)
