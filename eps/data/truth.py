"""True masks, for evaluation and for the supervised upper bound alone.

Nothing that trains or labels from tags imports this module; import-linter checks that.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from eps.data.artifacts import file_hash, read_mask
from eps.data.samples import PhotoMasks
from eps.errors import UserError
from eps.ops.instances import split_instances
from eps.ops.pseudo_labels import IGNORE


@runtime_checkable
class Truth(Protocol):
    """True masks of a dataset. Raises `UserError` for a photo without."""

    def covers(self, ids: Sequence[str]) -> bool:
        """Whether every one of these photos has a mask."""
        ...

    def semantic(self, photo: str) -> UInt8[np.ndarray, "H W"]:
        """Class index + 1, 0 for background, 255 for void."""
        ...

    def fingerprint(self, ids: Sequence[str]) -> str:
        """A hash of the masks of these photos."""
        ...

    def __call__(self, photo: str) -> PhotoMasks:
        """Masks and instances; uncertain are those whose outline is a guess."""
        ...

    def context(self, photo: str) -> UInt8[np.ndarray, "H W"] | None:
        """Which pixels are the context of which class (index + 1), where a dataset knows that."""
        ...


@dataclass(frozen=True)
class TruthFolder:
    """Truth as PNGs below a dataset's folder; each photo's mask is in the first of `semantic_folders` that has one."""

    root: Path
    semantic_folders: tuple[str, ...] = ("SegmentationClass",)

    def covers(self, ids: Sequence[str]) -> bool:
        """Whether every one of these photos has a mask."""
        return all(self._found(photo) is not None for photo in ids)

    def semantic(self, photo: str) -> UInt8[np.ndarray, "H W"]:
        """Class index + 1, 0 for background, 255 for void. Raises `UserError` where the mask is missing."""
        return read_mask(self._semantic_path(photo))

    def fingerprint(self, ids: Sequence[str]) -> str:
        """A hash of the masks that training reads. Raises `UserError` where one is missing."""
        digest = hashlib.sha256()
        for photo in ids:
            objects = self.root / "SegmentationObject" / f"{photo}.png"
            digest.update(file_hash(self._semantic_path(photo)).encode())
            digest.update((file_hash(objects) if objects.is_file() else "none").encode())
        return digest.hexdigest()

    def _found(self, photo: str) -> Path | None:
        paths = (self.root / folder / f"{photo}.png" for folder in self.semantic_folders)
        return next((path for path in paths if path.is_file()), None)

    def _semantic_path(self, photo: str) -> Path:
        path = self._found(photo)
        if path is None:
            first = self.root / self.semantic_folders[0] / f"{photo}.png"
            raise UserError(f"{first} is missing: evaluation and segmenter.supervision=truth need true masks")
        return path

    def __call__(self, photo: str) -> PhotoMasks:
        """Masks and instances of a photo; without SegmentationObject each class's connected components stand in."""
        semantic = self.semantic(photo)
        path = self.root / "SegmentationObject" / f"{photo}.png"
        if path.is_file():
            objects = read_mask(path)
            if objects.shape != semantic.shape:
                raise UserError(f"{path} is {objects.shape}, its mask of classes {semantic.shape}; redo one")
            found = _of_one_class(objects, semantic)
        else:
            parts = split_instances(semantic, min_area=1, fill_holes=False)
            found = [(part.mask, part.class_index) for part in parts]
        masks = np.array([mask for mask, _ in found], dtype=bool).reshape(-1, *semantic.shape)
        classes = np.array([c for _, c in found], dtype=np.int64)
        return PhotoMasks(semantic, masks, classes, np.zeros(len(found), dtype=bool))

    def context(self, photo: str) -> UInt8[np.ndarray, "H W"] | None:
        """Which pixels are the context of which class (index + 1), where a dataset knows that."""
        path = self.root / "SegmentationContext" / f"{photo}.png"
        return read_mask(path) if path.is_file() else None


def _of_one_class(
    objects: UInt8[np.ndarray, "H W"], semantic: UInt8[np.ndarray, "H W"]
) -> list[tuple[Bool[np.ndarray, "H W"], int]]:
    """Mask and class of each object: the class that most of its pixels have; objects of void or background are none."""
    masks = [objects == number for number in np.unique(objects) if number not in (0, IGNORE)]
    values = [int(np.bincount(semantic[mask]).argmax()) for mask in masks]
    return [(mask, value - 1) for mask, value in zip(masks, values, strict=True) if value not in (0, IGNORE)]
