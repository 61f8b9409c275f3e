"""The dataset folder: photos, tags, saliency maps and splits. Truth is not reachable from here (see `truth`)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from eps.data.artifacts import file_hash
from eps.data.images import read_image
from eps.errors import UserError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class DatasetFolder:
    """One dataset in our layout; open it with `DatasetFolder.open`."""

    root: Path
    classes: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]

    @classmethod
    def open(cls, root: Path) -> "DatasetFolder":
        """Read classes and tags. Raises `UserError` where the folder, the tag file or a tag is not as it should be."""
        if not root.is_dir():
            raise UserError(f"data.root={root}: no such folder; give the folder that holds JPEGImages/")
        path = root / "image_labels.json"
        if not path.is_file():
            raise UserError(
                f"{path} is missing: it names the classes and the tags of each photo (see README, Your data)"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            classes = tuple(str(c) for c in content["classes"])
            labels = {str(i): _tags(i, tags) for i, tags in content["labels"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f'{path} is not of the form {{"classes": [...], "labels": {{"id": [...]}}}}: {error}'
            ) from error
        if not classes or len(set(classes)) < len(classes):
            raise UserError(f"{path}: classes must be a list of names, at least one and each of them once")
        for photo, tags in labels.items():
            for tag in tags:
                if tag not in classes:
                    raise UserError(
                        f"{path}: photo {photo!r} has the unknown tag {tag!r}; known are {', '.join(classes)}"
                    )
        return cls(root, classes, labels)

    def has_split(self, split: str) -> bool:
        return self._split_path(split).is_file()

    def ids(self, split: str) -> list[str]:
        """Ids of a split, in file order.

        Raises `UserError` for a missing or empty split, an id without tags and an id given twice.
        """
        path = self._split_path(split)
        if not path.is_file():
            have = sorted(p.stem for p in path.parent.glob("*.txt"))
            raise UserError(f"split {split!r}: {path} is missing; there are {', '.join(have) or 'no splits'}")
        ids = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not ids:
            raise UserError(f"split {split!r}: {path} is empty")
        for photo in ids:
            if photo not in self.labels:
                raise UserError(f"{path}: photo {photo!r} has no entry in image_labels.json (an empty list is one)")
        if len(set(ids)) < len(ids):
            twice = next(photo for photo in ids if ids.count(photo) > 1)
            raise UserError(f"{path}: photo {twice!r} stands there more than once; give each photo one line")
        return ids

    def _split_path(self, split: str) -> Path:
        return self.root / "ImageSets" / "Segmentation" / f"{split}.txt"

    def photo_path(self, photo: str) -> Path:
        """The file of a photo, whatever its format and its suffix's case. Raises `UserError` where there is none."""
        for suffix in (cased for s in PHOTO_SUFFIXES for cased in (s, s.upper(), s.title())):
            path = self.root / "JPEGImages" / f"{photo}{suffix}"
            if path.is_file():
                return path
        raise UserError(f"{self.root / 'JPEGImages' / photo}: no photo of that id ({', '.join(PHOTO_SUFFIXES)})")

    def photo(self, photo: str) -> Image.Image:
        """A photo as RGB, upright. Raises `UserError` where it cannot be read."""
        return read_image(self.photo_path(photo)).convert("RGB")

    def tags(self, photo: str) -> Bool[np.ndarray, " c"]:
        """Which classes a photo is tagged with."""
        return np.array([c in self.labels[photo] for c in self.classes], dtype=bool)

    def saliency_path(self, photo: str) -> Path:
        return self.root / "SALImages" / f"{photo}.png"

    def saliency(self, photo: str, *, size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
        """Saliency map of a photo, 0..255. Raises `UserError` where it is missing or not of `size` (height, width)."""
        path = self.saliency_path(photo)
        if not path.is_file():
            raise UserError(f"{path} is missing: every training photo needs a saliency map, or use classifier=cam")
        saliency = np.asarray(read_image(path).convert("L"))
        if saliency.shape != size:
            raise UserError(
                f"{path} is {saliency.shape[1]}x{saliency.shape[0]}, its photo {size[1]}x{size[0]}; resize it"
            )
        return saliency

    def fingerprint(self, ids: Sequence[str], *, with_saliency: bool) -> str:
        """A hash of what training reads: ids, tags, and what the files hold."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for photo in ids:
            paths = [self.photo_path(photo)] + [self.saliency_path(photo)] * with_saliency
            hashes = [file_hash(path) if path.is_file() else None for path in paths]
            digest.update(json.dumps([photo, self.labels[photo], hashes]).encode())
        return digest.hexdigest()


def _tags(photo: str, tags: Any) -> tuple[str, ...]:
    if not isinstance(tags, list):
        raise TypeError(f"the tags of photo {photo!r} are {tags!r}, not a list")
    return tuple(str(tag) for tag in tags)
