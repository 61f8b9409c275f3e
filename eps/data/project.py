"""Photos of somebody's own with a table of tags, made into a dataset folder of our layout."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from eps.data.checks import faults
from eps.data.folder import write_listing
from eps.data.images import read_image_size
from eps.data.layout import DatasetFolder
from eps.data.listing import ASIDE, Places
from eps.data.photos import photos_form
from eps.data.tag_table import FIRST_TWO, Columns
from eps.data.unfinished import keep

FEW = 20
"""A class with fewer photos is remarked on."""


@dataclass(frozen=True)
class OwnPhotos:
    """The photos that a csv names, with their saliency maps where there are some."""

    dataset: DatasetFolder
    maps: Path | None
    max_side: int
    """Photos whose longer side is larger are made smaller; 0 for none."""

    @classmethod
    def open(
        cls,
        photos: Path,
        tags: Path,
        *,
        classes: Sequence[str] = (),
        maps: Path | None,
        val_share: float,
        max_side: int,
        columns: Columns = FIRST_TWO,
    ) -> "OwnPhotos":
        """Without `classes` those that the csv names, sorted; with them, others are faults.

        Raises `UserError` where the folder or the csv is missing, or the csv is none.
        """
        aside = (str(maps.resolve()),) if maps else ()
        saliency = str((maps or photos / "SALImages").resolve())
        places = Places(tags=str(tags.resolve()), saliency=saliency, no_photos=aside)
        form = photos_form(photos, places, classes=classes, val_share=val_share, columns=columns)
        return cls(DatasetFolder.of(form, form.read()), maps, max_side)

    @property
    def ids(self) -> list[str]:
        """Of all splits."""
        return [photo for ids in self.dataset.splits.values() for photo in ids]

    def without_map(self) -> list[str]:
        """The photos that have no saliency map yet."""
        return self.dataset.without_saliency(self.ids)

    def faults(self) -> Iterator[list[str]]:
        """For each photo in turn what is wrong with its line, its file and its map."""
        lines = self.dataset.faults
        yield from ([fault] for fault in lines.values())
        good = [photo for photo in self.ids if photo not in lines]
        yield from faults(self.dataset, good, with_saliency=self.maps is not None)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Width and height of each photo, upright, as it will be in the dataset."""
        return {photo: self._size(photo) for photo in self.ids}

    @cached_property
    def _own_sizes(self) -> dict[str, tuple[int, int]]:
        paths = [self.dataset.photo_path(photo) for photo in self.ids]
        with ThreadPoolExecutor(max_workers=4) as pool:
            return dict(zip(self.ids, pool.map(read_image_size, paths), strict=True))

    def _size(self, photo: str) -> tuple[int, int]:
        width, height = self._own_sizes[photo]
        if not self.is_too_large(photo):
            return width, height
        factor = self.max_side / max(width, height)
        return max(1, round(width * factor)), max(1, round(height * factor))

    def is_too_large(self, photo: str) -> bool:
        """Whether the photo is to be made smaller."""
        return 0 < self.max_side < max(self._own_sizes[photo])

    def notes(self) -> Iterator[str]:
        """What is worth knowing of tags and sizes, though no fault."""
        yield from self.dataset.notes
        train = self.dataset.splits["train"]
        counts = {name: sum(name in self.dataset.labels[i] for i in train) for name in self.dataset.classes}
        for name in (name for name, count in counts.items() if count == len(train)):
            yield f"every training photo is tagged {name!r}: add photos without it, or nothing tells what it is"
        if few := [f"{name} ({count})" for name, count in counts.items() if count < FEW]:
            yield f"on fewer than {FEW} training photos, expect little of them: {', '.join(few)}"
        untagged = sum(not self.dataset.labels[photo] for photo in self.ids)
        if untagged:
            yield f"{untagged} photos have no tag: they teach what is background"
        if ASIDE not in self.dataset.splits:
            yield "no photo is put aside to look at results on: there are too few, or --val-share is too small"
        too_large = sum(map(self.is_too_large, self.ids))
        if too_large:
            yield f"{too_large} photos larger than {self.max_side} px are made smaller (--max-side 0 keeps them)"

    def write(self, root: Path, *, done: Callable[[], None]) -> None:
        """Fill a folder: photos (as they are, linked where the disk has links, or smaller), maps, tags and splits."""
        labels = {photo: list(self.dataset.labels[photo]) for photo in self.ids}
        write_listing(root, classes=self.dataset.classes, labels=labels, splits=self.dataset.splits)
        (root / "SALImages").mkdir()
        for photo in self.ids:
            self._write_photo(root, photo)
            if self.maps and self.dataset.saliency_path(photo).is_file():
                self._write_map(root, photo)
            done()

    def _write_photo(self, root: Path, photo: str) -> None:
        source = self.dataset.photo_path(photo)
        target = root / "JPEGImages" / f"{photo}{source.suffix.lower()}"
        if not self.is_too_large(photo):
            keep(source.resolve(), target)  # of a symlink what it leads to
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        smaller = self.dataset.photo(photo).resize(self.sizes[photo], Image.Resampling.LANCZOS)
        smaller.save(target, quality=95)  # which PNGs ignore

    def _write_map(self, root: Path, photo: str) -> None:
        source, target = self.dataset.saliency_path(photo), root / "SALImages" / f"{photo}.png"
        if not self.is_too_large(photo):
            keep(source.resolve(), target)  # of a symlink what it leads to
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Image.fromarray(self.dataset.stored_saliency(photo))
        made.resize(self.sizes[photo], Image.Resampling.BILINEAR).save(target)
