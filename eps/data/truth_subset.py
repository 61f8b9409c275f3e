"""True masks of some of a dataset's classes, by name: all others are background.

Nothing that trains or labels from tags imports this module; import-linter checks that.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from eps.data.samples import PhotoMasks
from eps.data.subset import label_table
from eps.data.truth import Truth
from eps.errors import UserError
from eps.ops.pseudo_labels import IGNORE


@dataclass(frozen=True, kw_only=True)
class TruthOfClasses:
    """A dataset's truth with `classes` alone, of those that it has, `known`, both in order."""

    whole: Truth
    known: tuple[str, ...]
    classes: tuple[str, ...]

    def covers(self, ids: Sequence[str]) -> bool:
        """Whether every one of these photos has a mask."""
        return self.whole.covers(ids)

    def semantic(self, photo: str) -> UInt8[np.ndarray, "H W"]:
        """Class index + 1, 0 for background, 255 for void. Raises `UserError` for a label that no class has."""
        return self._relabelled(self.whole.semantic(photo), photo)

    def fingerprint(self, ids: Sequence[str]) -> str:
        """A hash of the masks and of which classes are meant."""
        chosen = json.dumps([self.known, self.classes])
        return hashlib.sha256(f"{self.whole.fingerprint(ids)} {chosen}".encode()).hexdigest()

    def __call__(self, photo: str) -> PhotoMasks:
        """Masks and instances of these classes."""
        found = self.whole(photo)
        numbers = self._labels[found.classes + 1].astype(np.int64) - 1
        kept = numbers >= 0
        return PhotoMasks(
            self._relabelled(found.semantic, photo),
            found.masks[kept],
            numbers[kept],
            found.uncertain[kept],
            None if found.boxes is None else found.boxes[kept],
            None if found.areas is None else found.areas[kept],
        )

    def context(self, photo: str) -> UInt8[np.ndarray, "H W"] | None:
        """Which pixels are the context of which class."""
        found = self.whole.context(photo)
        return None if found is None else self._relabelled(found, photo)

    @cached_property
    def _labels(self) -> UInt8[np.ndarray, "256"]:
        return label_table(self.known, self.classes)

    def _relabelled(self, labels: UInt8[np.ndarray, "H W"], photo: str) -> UInt8[np.ndarray, "H W"]:
        odd = np.unique(labels[(labels > len(self.known)) & (labels != IGNORE)])
        if len(odd):
            raise UserError(
                f"photo {photo!r}: the true mask has the label {odd[0]}, there are {len(self.known)} classes"
            )
        relabelled: UInt8[np.ndarray, "H W"] = self._labels[labels]
        return relabelled
