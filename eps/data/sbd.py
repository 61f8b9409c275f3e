"""The Semantic Boundaries Dataset as it unpacks: img/, cls/*.mat, inst/*.mat, train.txt, val.txt (ICCV 2011)."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Integer, UInt8
from scipy.io import loadmat

from eps.data.class_names import VOC
from eps.data.files import is_safe
from eps.data.listing import Form, Listing, Places, existing, read_list
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
    for place in _PLACES:
        if (root / place / "img").is_dir():
            return root / place
    raise UserError(f"data.root={root}: there is no img/ in it, nor in benchmark_RELEASE/dataset/ below it")


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

    Raises `UserError` where the file is missing, cut off, or none of SBD's. scipy trusts what a .mat says: one
    that was damaged on purpose can end the process, so read those that SBD's authors hand out.
    """
    found = np.asarray(_field(path, name, "Segmentation"))
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.integer) or (found.size and not 0 <= found.max() < 256):
        raise UserError(f"{path}: {name}.Segmentation is no map of small whole numbers")
    return found.astype(np.uint8)


def read_categories(path: Path) -> Integer[np.ndarray, " n"]:
    """Each object's class from 0. Raises `UserError` where the file is none of SBD's."""
    found = np.asarray(_field(path, "GTinst", "Categories")).ravel()
    if not np.issubdtype(found.dtype, np.number) or not ((found >= 1) & (found <= len(VOC))).all():
        raise UserError(f"{path}: GTinst.Categories are not classes from 1 to {len(VOC)}")
    return found.astype(np.int64) - 1


def _field(path: Path, name: str, field: str) -> Any:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        return loadmat(path, variable_names=[name])[name][0, 0][field]
    except Exception as error:  # scipy's reader has no error of its own for what it cannot read
        raise UserError(f"{path} is no file of SBD's with {name}.{field}: {error!r}") from error
