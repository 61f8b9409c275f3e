"""The Semantic Boundaries Dataset as it unpacks: img/, cls/*.mat, inst/*.mat, train.txt, val.txt (ICCV 2011)."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Integer, UInt8

from eps.data.class_names import VOC
from eps.data.files import is_safe
from eps.data.listing import Form, Listing, Places, existing, folder_with, read_list
from eps.data.mat_files import read_field
from eps.errors import UserError

_PLACES: Final = (".", "dataset", "benchmark_RELEASE/dataset", "sbd")


def sbd_form(root: Path, places: Places) -> Form:
    """SBD at or below `root`; tags are the classes in the .mat files of the folder `places.tags`.

    Raises `UserError` where it is not there.
    """
    folder = locate_sbd(root)
    if not (folder / places.tags).is_dir():
        raise UserError(f"{folder / places.tags} is missing: it holds SBD's class masks, <id>.mat, and so the tags")
    return Form(
        kind="sbd",
        root=folder,
        places=replace(places, photos=("img", "JPEGImages"), split="{}.txt"),
        sources=lambda: [*sorted(folder.glob("*.txt")), *sorted((folder / places.tags).glob("*.mat"))],
        read=partial(_read, folder, folder / places.tags),
        settings=(places.tags,),
        indexed=True,
    )


def locate_sbd(root: Path) -> Path:
    """The folder that has img/, at or below `root`. Raises `UserError` where it is not there."""
    existing(root, holds="benchmark_RELEASE/dataset")
    return folder_with("img", root, _PLACES, usual="benchmark_RELEASE/dataset")


def _read(folder: Path, tags: Path) -> Listing:
    splits = {path.stem: tuple(read_list(path)) for path in sorted(folder.glob("*.txt"))}
    labels, faults = {}, {}
    for photo in dict.fromkeys(photo for split in splits.values() for photo in split if is_safe(photo)):
        try:
            values = np.unique(read_segmentation(tags / f"{photo}.mat", "GTcls"))
            labels[photo] = tuple(name for c, name in enumerate(VOC, start=1) if c in values)
        except UserError as error:
            faults[photo] = str(error)
    return Listing(classes=VOC, labels=labels, splits=splits, faults=faults)


def read_segmentation(path: Path, name: str) -> UInt8[np.ndarray, "H W"]:
    """The map in a .mat of SBD: of `GTcls` the class from 1, of `GTinst` the object's number from 1; 0 elsewhere.

    Raises `UserError` where the file is missing, damaged, or none of SBD's.
    """
    found = read_field(path, name, "Segmentation")
    if found.ndim != 2 or found.dtype.kind not in "iu" or (found.size and not 0 <= found.min() <= found.max() < 256):
        raise UserError(f"{path}: {name}.Segmentation is no map of small whole numbers")
    labels: UInt8[np.ndarray, "H W"] = found.astype(np.uint8)
    return labels


def read_categories(path: Path) -> Integer[np.ndarray, " n"]:
    """Each object's class from 0. Raises `UserError` where the file is none of SBD's."""
    found = read_field(path, "GTinst", "Categories").ravel()
    if not ((found >= 1) & (found <= len(VOC))).all():
        raise UserError(f"{path}: GTinst.Categories are not classes from 1 to {len(VOC)}")
    classes: Integer[np.ndarray, " n"] = found.astype(np.int64) - 1
    return classes
