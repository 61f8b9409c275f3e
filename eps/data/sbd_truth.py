"""True masks out of SBD's .mat files, for evaluation and for training on truth alone.

Nothing that trains or labels from tags imports this module; import-linter checks that.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from eps.data.artifacts import file_hash
from eps.data.samples import PhotoMasks
from eps.data.sbd import read_categories, read_segmentation
from eps.errors import UserError


@dataclass(frozen=True)
class SbdTruth:
    """Objects of the photos below `folder` in `root`, one .mat each: number maps with a class for every number."""

    root: Path
    folder: str = "inst"

    def covers(self, ids: Sequence[str]) -> bool:
        """Whether every one of these photos has a file."""
        return all(self._path(photo).is_file() for photo in ids)

    def semantic(self, photo: str) -> UInt8[np.ndarray, "H W"]:
        """Class index + 1, 0 for background. Raises `UserError` where the file is missing or broken."""
        return self(photo).semantic

    def fingerprint(self, ids: Sequence[str]) -> str:
        """A hash of the files. Raises `UserError` where one is missing."""
        return hashlib.sha256("".join(file_hash(self._existing(photo)) for photo in ids).encode()).hexdigest()

    def __call__(self, photo: str) -> PhotoMasks:
        """Masks and instances of a photo; SBD knows no crowds."""
        path = self._existing(photo)
        numbers, classes = read_segmentation(path, "GTinst"), read_categories(path)
        if numbers.size and numbers.max() > len(classes):
            raise UserError(f"{path}: object {numbers.max()} has no class, there are {len(classes)}")
        present = [number for number in range(1, len(classes) + 1) if (numbers == number).any()]
        values = np.concatenate([[0], classes + 1]).astype(np.uint8)
        return PhotoMasks(
            values[numbers],
            np.array([numbers == number for number in present], dtype=bool).reshape(-1, *numbers.shape),
            classes[[number - 1 for number in present]],
            np.zeros(len(present), dtype=bool),
        )

    def context(self, photo: str) -> None:
        """SBD knows no contexts."""

    def _path(self, photo: str) -> Path:
        return self.root / self.folder / f"{photo}.mat"

    def _existing(self, photo: str) -> Path:
        path = self._path(photo)
        if not path.is_file():
            raise UserError(f"{path} is missing: evaluation and segmenter.supervision=truth need true masks")
        return path
