"""A run's pseudo-masks, the worst first, and the list of those that somebody has marked as bad."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import Image

from eps.app_page.looking import EVERY, SIDE
from eps.data.artifacts import read_json, read_scores
from eps.data.datasets import read_saliency
from eps.data.exclusion import read_exclusion, write_exclusion
from eps.data.images import read_header
from eps.data.layout import DatasetFolder
from eps.data.mask_sources import PseudoMasks
from eps.engine.agreement import disagreement
from eps.errors import UserError, some
from eps.report_page.pictures import fit, paint_labels, paint_map

THUMBNAIL = 224
ALL, MARKED, UNMARKED = "all", "marked as bad", "not marked"
"""Which photos to browse."""
NAMES, SIZES = 4, 32
"""Of so many classes a difference names the names, and of so many photos it compares the sizes."""


class Stated(NamedTuple):
    """What pseudo-masks say of the dataset that they were made from."""

    classes: tuple[str, ...]
    sizes: Mapping[str, tuple[int, int]]
    """(height, width) of each photo."""


def read_stated(path: Path) -> Stated:
    """Of an `instances.json`. Raises `UserError` for another content."""
    content = read_json(path)
    try:
        sizes = {str(one["file_name"]): (int(one["height"]), int(one["width"])) for one in content["images"]}
        return Stated(tuple(str(category["name"]) for category in content["categories"]), sizes)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not say of which classes and photos it is ({error!r}): run stage 2 again"
        ) from error


def difference(stated: Stated, folder: DatasetFolder, *, split: str) -> str | None:
    """In what a dataset is another one than pseudo-masks were made from, if it is: classes, photos of the split, sizes.

    It speaks of the pseudo-masks as "it".
    """
    if stated.classes != folder.classes:
        return different_classes(stated.classes, folder.classes)
    listed = set(folder.splits.get(split, ())) & set(folder.labels)
    for photo in stated.sizes:
        if photo not in listed or not folder.has_photo(photo):
            return f"split {split!r} of {folder.root} has no photo {photo!r}, which it has a mask of"
    for photo in list(stated.sizes)[:: max(1, len(stated.sizes) // SIZES)]:
        (height, width), size = stated.sizes[photo], read_header(folder.photo_path(photo), name=photo).size
        if size != (height, width):
            return f"its mask of {photo!r} is {width}x{height}, the photo {size[1]}x{size[0]}"
    return None


def different_classes(its: Sequence[str], others: Sequence[str]) -> str:
    """What to say of classes that are not the same."""
    more, less = [name for name in its if name not in others], [name for name in others if name not in its]
    told = [(more, "it is of"), (less, "it is not of")]
    parts = [f"{words} {some(names, most=NAMES)}" for names, words in told if names]
    return ", ".join(parts) or "its classes have another order"


class Reviewed(NamedTuple):
    """One photo of the run's pseudo-masks."""

    photo: str
    classes: tuple[int, ...]
    """From 0: those that its tags say, and those that its mask has."""
    disagreement: float | None
    """1 - IoU of the mask's foreground and the saliency map; None where there is no such map."""


class Review:
    """The pseudo-masks of a run beside the dataset that they were made from; see `difference`."""

    def __init__(self, masks: PseudoMasks, folder: DatasetFolder) -> None:
        self.masks, self.folder = masks, folder

    def survey(self, advance: Callable[[int], None] = lambda done: None) -> list[Reviewed]:
        """Look at every mask once; `advance` is told how many it has been."""
        found = []
        for number, photo in enumerate(self.masks.photos, start=1):
            found.append(self._reviewed(photo))
            advance(number)
        return found

    def _reviewed(self, photo: str) -> Reviewed:
        labels = self.masks.semantic(photo)
        values = np.unique(labels)
        classes = {int(value) - 1 for value in values if 0 < value <= len(self.folder.classes)}
        classes |= set(np.flatnonzero(self.folder.tags(photo)).tolist())
        if not self.folder.saliency_path(photo).is_file():
            return Reviewed(photo, tuple(sorted(classes)), None)
        saliency = read_saliency(self.folder, photo, size=(labels.shape[0], labels.shape[1])).numpy()
        return Reviewed(photo, tuple(sorted(classes)), disagreement(labels, saliency))

    def thumbnail(self, photo: str) -> Image.Image:
        """The photo under its pseudo-mask."""
        return paint_labels(self.folder.photo(photo), self.masks.semantic(photo), side=THUMBNAIL)

    def pictures(self, photo: str) -> list[tuple[Image.Image, str]]:
        """All there is to judge a pseudo-mask by, each with what it is."""
        image, labels = self.folder.photo(photo), self.masks.semantic(photo)
        shown = [(fit(image, SIDE), "photo"), (paint_labels(image, labels, side=SIDE), "pseudo-mask")]
        if self.folder.saliency_path(photo).is_file():
            saliency = self.folder.saliency(photo, size=(image.height, image.width))
            shown.append((fit(Image.fromarray(saliency), SIDE).convert("RGB"), "saliency"))
        scores = self.masks.folder / "scores" / f"{photo}.npz"
        if scores.is_file():
            maps = read_scores(scores, classes=len(self.folder.classes), size=(image.height, image.width))
            shown.append((paint_map(image, maps.max(axis=0), side=SIDE), "localization maps, the best"))
        return shown


def worst_first(
    reviewed: Iterable[Reviewed], *, only: int = EVERY, which: str = ALL, marked: Collection[str] = ()
) -> list[Reviewed]:
    """Photos of a class, marked or not as `which` says, by disagreement; those without saliency map come last."""
    wanted = [
        row
        for row in reviewed
        if (only == EVERY or only in row.classes) and (which == ALL or (row.photo in marked) == (which == MARKED))
    ]
    return sorted(wanted, key=lambda row: -1.0 if row.disagreement is None else row.disagreement, reverse=True)


class Marks:
    """The ids of bad pseudo-masks in a file, one a line, as `segmenter.exclude` reads it.

    The file is read before it is changed, so that several pages do not undo what the others have marked.
    """

    def __init__(self, path: Path, known: Sequence[str]) -> None:
        self.path, self._known, self._lock = path, {photo: place for place, photo in enumerate(known)}, Lock()

    def read(self) -> list[str]:
        """Ids in the order of the photos. Raises `UserError` for one that is no photo of the run."""
        if not self.path.is_file():
            return []
        ids = read_exclusion(self.path, known=self._known, known_as="the run")
        return sorted(ids, key=lambda photo: self._known[photo])

    def toggle(self, photo: str) -> bool:
        """Mark a photo, or no longer; whether it is marked now. Raises `UserError` where the file cannot be written."""
        if photo not in self._known:
            raise UserError(f"{photo!r} is no photo of the run")
        with self._lock:
            ids = self.read()
            marked = photo not in ids
            write_exclusion(self.path, [*ids, photo] if marked else [one for one in ids if one != photo])
            return marked
