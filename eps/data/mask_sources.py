"""Stage 2's pseudo-masks as stage 3 reads them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from eps.data.artifacts import LabelledInstance, file_hash, read_instances, read_mask
from eps.data.samples import PhotoMasks
from eps.errors import UserError


class PseudoMasks:
    """The masks and instances of a `pseudo_masks/` folder.

    Raises `UserError` where the folder is missing or has no such photo.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UserError(f"{folder} is missing: run stage 2 first (eps stage2)")
        self.folder = folder
        self._instances = read_instances(folder / "instances.json")

    @property
    def photos(self) -> list[str]:
        """The ids of the photos that have a pseudo-mask, in the order of `instances.json`."""
        return list(self._instances)

    def __call__(self, photo: str) -> PhotoMasks:
        return as_photo_masks(self.semantic(photo), self._instances[photo])

    def semantic(self, photo: str) -> UInt8[np.ndarray, "H W"]:
        """The label map alone: class index + 1, 0 background, 255 ignore."""
        return read_mask(self.path(photo))

    def fingerprint(self, ids: Sequence[str]) -> str:
        """A hash of what training reads, whoever wrote it. Raises `UserError` where a file is missing."""
        masks = [self.path(photo) for photo in ids]
        for path in (self.folder / "manifest.json", *masks):
            if not path.is_file():
                raise UserError(f"{path} is missing: run stage 2 first (eps stage2)")
        hashes = [file_hash(path) for path in (self.folder / "instances.json", *masks)]
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def path(self, photo: str) -> Path:
        """Where a photo's label map lies. Raises `UserError` for a photo that has none."""
        if photo not in self._instances:
            raise UserError(f"{self.folder} has no pseudo-mask of photo {photo!r}: run stage 2 again on this split")
        return self.folder / "masks" / f"{photo}.png"


def as_photo_masks(semantic: np.ndarray, instances: list[LabelledInstance]) -> PhotoMasks:
    """Label map and instances of one photo as one record."""
    masks = np.array([instance.mask for instance in instances], dtype=bool).reshape(-1, *semantic.shape)
    return PhotoMasks(
        semantic,
        masks,
        np.array([instance.class_index for instance in instances], dtype=np.int64),
        np.array([instance.uncertain for instance in instances], dtype=bool),
    )
