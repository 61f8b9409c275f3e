"""Faults of a dataset's files, photo by photo."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from eps.data.layout import DatasetFolder
from eps.data.truth import Truth
from eps.errors import UserError
from eps.ops.pseudo_labels import IGNORE


def faults(
    folder: DatasetFolder, ids: Sequence[str], *, with_saliency: bool, truth: Truth | None = None, threads: int = 1
) -> Iterator[list[str]]:
    """For each photo in turn what is wrong with it, with the saliency map it has and, given `truth`, with its mask.

    That is: unreadable, of different sizes or another than annotations state, a mask of unknown classes. Photos without
    a map are no fault each: `DatasetFolder.without_saliency` tells them all. Photos without a mask are none either:
    truth is never needed.
    """

    def check(photo: str) -> list[str]:
        return _faults(folder, photo, with_saliency=with_saliency, truth=truth)

    with ThreadPoolExecutor(max_workers=threads) as pool:
        yield from pool.map(check, ids)


def checked_files(folder: DatasetFolder, ids: Sequence[str], *, with_saliency: bool) -> Iterator[Path]:
    """The files that `faults` opens, masks aside; of a photo that is missing, its id."""
    for photo in ids:
        try:
            yield folder.photo_path(photo)
        except UserError:
            yield Path(photo)
        if with_saliency:
            yield folder.saliency_path(photo)


def _faults(folder: DatasetFolder, photo: str, *, with_saliency: bool, truth: Truth | None) -> list[str]:
    try:
        image = folder.photo(photo)
    except UserError as error:
        return [str(error)]
    size = (image.height, image.width)
    found = _size_faults(folder, photo, size=size)
    try:
        if with_saliency and folder.saliency_path(photo).is_file():
            folder.saliency(photo, size=size)
    except UserError as error:
        found.append(str(error))
    if truth is not None and truth.covers([photo]):
        found += _mask_faults(truth, photo, size=size, classes=len(folder.classes))
    return found


def _size_faults(folder: DatasetFolder, photo: str, *, size: tuple[int, int]) -> list[str]:
    stated = folder.sizes.get(photo, size)
    if stated == size:
        return []
    turned = "; they are swapped, or its EXIF data turn it" if stated == size[::-1] else "; mend one"
    path = folder.photo_path(photo)
    return [f"{path} is {size[1]}x{size[0]}, its annotation says {stated[1]}x{stated[0]}{turned}"]


def _mask_faults(truth: Truth, photo: str, *, size: tuple[int, int], classes: int) -> list[str]:
    try:
        masks = truth(photo)
    except UserError as error:
        return [str(error)]
    if masks.semantic.shape != size:
        return [f"photo {photo!r}: the true mask is {masks.semantic.shape}, the photo {size}; mend one"]
    values = np.unique(masks.semantic)
    odd = values[(values > classes) & (values != IGNORE)].tolist()
    return [f"photo {photo!r}: the true mask has the label {odd[0]}, there are {classes} classes"] if odd else []
