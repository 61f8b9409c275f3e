"""One dataset, whatever its form: photos, tags, saliency maps and splits. Truth is not reachable here (see `truth`)."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from eps.data.artifacts import file_hash
from eps.data.files import PHOTO_SUFFIXES, files_by_id
from eps.data.folder import folder_form
from eps.data.images import read_image
from eps.data.listing import Form, Listing, Places, id_fault
from eps.errors import UserError


@dataclass(frozen=True)
class DatasetFolder:
    """What a dataset's listing says of it, and the files themselves."""

    root: Path
    classes: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """(height, width) of photos as annotations state it, where they do."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Of photos whose tags cannot be used: why."""
    notes: tuple[str, ...] = ()
    places: Places = field(default_factory=Places)
    find_unusable: Callable[["DatasetFolder", str], dict[str, str]] | None = None
    """Of a split, which photos to leave out and why; without it the first photo with a fault is an error."""

    @classmethod
    def open(cls, root: Path) -> "DatasetFolder":
        """A folder of our own layout. Raises `UserError` where it, or its tag file, is not as it should be."""
        form = folder_form(root, Places())
        return cls.of(form, form.read())

    @classmethod
    def of(
        cls,
        form: Form,
        listing: Listing,
        find_unusable: Callable[["DatasetFolder", str], dict[str, str]] | None = None,
    ) -> "DatasetFolder":
        """A dataset of any form, of which this is the listing."""
        return cls(
            form.root,
            listing.classes,
            listing.labels,
            splits=listing.splits,
            sizes=listing.sizes,
            faults=listing.faults,
            notes=listing.notes,
            places=form.places,
            find_unusable=find_unusable,
        )

    def has_split(self, split: str) -> bool:
        return split in self.splits

    def ids(self, split: str) -> list[str]:
        """Ids of a split, in the order of its list.

        Raises `UserError` for a missing or empty split, an id given twice, and a photo without usable tags; or leaves
        such photos out, where it knows how to find them, unless none is left.
        """
        ids = self.listed(split)
        if self.find_unusable is not None:
            skipped = self.skipped(split)
            if len(skipped) == len(set(ids)):
                raise UserError(f"split {split!r}: every photo of it has a fault: {next(iter(skipped.values()))}")
            return [photo for photo in dict.fromkeys(ids) if photo not in skipped]
        for fault in self.faults_of(ids, split).values():
            raise UserError(fault)
        return ids

    def skipped(self, split: str) -> dict[str, str]:
        """The photos of a split that `ids` leaves out, each with the reason."""
        if self.find_unusable is None:
            return {}
        if split not in self._skipped:
            self._skipped[split] = self.find_unusable(self, split)
        return self._skipped[split]

    @cached_property
    def _skipped(self) -> dict[str, dict[str, str]]:
        return {}

    def listed(self, split: str) -> list[str]:
        """Ids of a split as they stand there, usable or not. Raises `UserError` for a missing or empty split."""
        source = self.root / self.places.split.format(split)
        if split not in self.splits:
            hint = f" ({self.places.hints[split]})" if split in self.places.hints else ""
            known = ", ".join(sorted(self.splits)) or "no splits"
            raise UserError(f"split {split!r}: {source} is missing{hint}; there are {known}")
        if not self.splits[split]:
            raise UserError(f"split {split!r}: {source} is empty")
        return list(self.splits[split])

    def faults_of(self, ids: Sequence[str], split: str) -> dict[str, str]:
        """What is wrong with the ids and tags of a split, by id, in the order of its photos."""
        source = self.root / self.places.split.format(split)
        found: dict[str, str] = {}
        for photo, count in Counter(ids).items():
            if photo in self.faults:
                found[photo] = self.faults[photo]
            elif fault := id_fault(photo):
                found[photo] = f"{source}: {photo!r} {fault}"
            elif photo not in self.labels:
                found[photo] = f"{source}: photo {photo!r} has no entry in {self.places.tags} (an empty list is one)"
            elif count > 1:
                found[photo] = f"{source}: photo {photo!r} stands there more than once; give each photo one line"
        return found

    @cached_property
    def _photos(self) -> dict[str, Path]:
        without = [self.root / folder for folder in self.places.no_photos]
        found: dict[str, Path] = {}
        for folder in reversed(self.places.photos):
            found |= files_by_id(self.root / folder, PHOTO_SUFFIXES, without=without)
        return found

    def has_photo(self, photo: str) -> bool:
        """Whether there is a file of a photo."""
        return photo in self._photos

    def photo_path(self, photo: str) -> Path:
        """The file of a photo, whatever its format and its suffix's case. Raises `UserError` where there is none."""
        path = self._photos.get(photo)
        if path is None:
            place = self.root / self.places.photos[0] / photo
            raise UserError(f"{place}: no photo of that id ({', '.join(PHOTO_SUFFIXES)})")
        return path

    def photo(self, photo: str) -> Image.Image:
        """A photo as RGB, upright. Raises `UserError` where it cannot be read."""
        return read_image(self.photo_path(photo)).convert("RGB")

    def tags(self, photo: str) -> Bool[np.ndarray, " c"]:
        """Which classes a photo is tagged with."""
        return np.array([c in self.labels[photo] for c in self.classes], dtype=bool)

    @cached_property
    def _saliency_maps(self) -> dict[str, Path]:
        return files_by_id(self.root / self.places.saliency, (".png",))

    def saliency_path(self, photo: str) -> Path:
        """The file of a photo's saliency map, there or not: `<id>.png` unless the suffix has another case."""
        path = self.root / self.places.saliency / f"{photo}.png"
        return path if path.is_file() else self._saliency_maps.get(photo, path)

    def without_saliency(self, photos: Sequence[str]) -> list[str]:
        """Those of these photos that have no saliency map."""
        return [photo for photo in photos if not self.saliency_path(photo).is_file()]

    def saliency(self, photo: str, *, size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
        """Saliency map of a photo, 0..255. Raises `UserError` where it is missing or not of `size` (height, width)."""
        saliency = self.stored_saliency(photo)
        height, width = saliency.shape
        if (height, width) != size:
            path = self.saliency_path(photo)
            raise UserError(f"{path} is {width}x{height}, its photo {size[1]}x{size[0]}; resize it")
        return saliency

    def stored_saliency(self, photo: str) -> UInt8[np.ndarray, "H W"]:
        """Saliency map of a photo, whatever its size. Raises `UserError` where it is missing or cannot be read."""
        path = self.saliency_path(photo)
        if not path.is_file():
            raise UserError(f"{path} is missing: every training photo needs a saliency map, or use classifier=cam")
        try:
            return np.asarray(read_image(path).convert("L"))
        except UserError as error:
            raise UserError(f"{error}; delete it, or have it made anew with saliency.overwrite=true") from error

    def fingerprint(self, ids: Sequence[str], *, with_saliency: bool) -> str:
        """A hash of what training reads: ids, tags, and what the files hold."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for photo in ids:
            paths = [self.photo_path(photo)] + [self.saliency_path(photo)] * with_saliency
            hashes = [file_hash(path) if path.is_file() else None for path in paths]
            digest.update(json.dumps([photo, self.labels[photo], hashes]).encode())
        return digest.hexdigest()
