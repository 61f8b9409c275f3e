"""True masks out of COCO's json files, for evaluation and for the supervised upper bound alone.

Nothing that trains or labels from tags imports this module; import-linter checks that.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from pycocotools import mask as coco_mask

from eps.data.artifacts import file_hash
from eps.data.coco import CocoFile, CocoPhoto, read_coco
from eps.data.coco_segmentation import box_region, checked_segmentation, has_outline
from eps.data.samples import PhotoMasks
from eps.errors import UserError
from eps.ops.pseudo_labels import IGNORE


@dataclass(frozen=True)
class CocoTruth:
    """Masks of the photos in some json files, which are read when the first mask is asked for."""

    files: tuple[Path, ...]

    def covers(self, ids: Sequence[str]) -> bool:
        """Whether every one of these photos is in the files: one without annotations shows nothing of any class."""
        return all(any(photo in content.photos for content in self._contents) for photo in ids)

    def semantic(self, photo: str) -> UInt8[np.ndarray, "H W"]:
        """Class index + 1, 0 for background. Where objects overlap, the smaller one; crowds lie beneath all others."""
        return self(photo).semantic

    def fingerprint(self, ids: Sequence[str]) -> str:
        """A hash of the files. Raises `UserError` where a photo is in none of them, or no object has an outline."""
        held = [annotation for photo in ids for annotation in self._find(photo)[2].annotations]
        if held and not any(map(has_outline, held)):
            names = ", ".join(map(str, self.files))
            raise UserError(f"{names}: no object has a segmentation, boxes teach no masks; train on tags (stages 1-3)")
        return hashlib.sha256("".join(map(file_hash, self.files)).encode()).hexdigest()

    def __call__(self, photo: str) -> PhotoMasks:
        """Masks and instances of a photo, largest first; a crowd's outline is a guess, so it is uncertain.

        So is an object of which only the box is known: its box stands for it, and is ignored in the semantic map.
        """
        path, content, held = self._find(photo)
        try:
            masks = [_decoded(annotation, held) for annotation in held.annotations]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{path}: a segmentation of photo {photo!r} cannot be read: {error!r}") from error
        known = [has_outline(annotation) for annotation in held.annotations]
        crowd = [bool(annotation.get("iscrowd", 0)) for annotation in held.annotations]
        found = [i for i, mask in enumerate(masks) if mask.any()]
        order = sorted(found, key=lambda i: (known[i], not crowd[i], -int(masks[i].sum())))
        classes = [content.class_of[held.annotations[i]["category_id"]] for i in order]
        semantic = np.zeros((held.height, held.width), dtype=np.uint8)
        for i, index in zip(order, classes, strict=True):
            semantic[masks[i]] = index + 1 if known[i] else IGNORE
        return PhotoMasks(
            semantic,
            np.array([masks[i] for i in order], dtype=bool).reshape(-1, held.height, held.width),
            np.array(classes, dtype=np.int64),
            np.array([crowd[i] or not known[i] for i in order], dtype=bool),
            *_as_annotated([held.annotations[i] for i in order]),
        )

    def context(self, photo: str) -> None:
        """COCO knows no contexts."""

    @cached_property
    def _contents(self) -> list[CocoFile]:
        return [read_coco(path) for path in self.files]

    def _find(self, photo: str) -> tuple[Path, CocoFile, CocoPhoto]:
        for path, content in zip(self.files, self._contents, strict=True):
            if photo in content.photos:
                return path, content, content.photos[photo]
        names = ", ".join(map(str, self.files))
        raise UserError(f"photo {photo!r} is not in {names}: evaluation and segmenter.supervision=truth need its masks")


def _as_annotated(
    annotations: Sequence[Mapping[str, Any]],
) -> tuple[Float[np.ndarray, "n 4"] | None, Float[np.ndarray, " n"] | None]:
    """Boxes (xyxy) and areas as they stand there; None where some have none: they are then read off the masks."""
    try:
        sides = np.array([annotation["bbox"] for annotation in annotations], dtype=np.float64).reshape(-1, 4)
        areas = np.array([annotation["area"] for annotation in annotations], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        return None, None
    return np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1), areas


def _decoded(annotation: Mapping[str, Any], photo: CocoPhoto) -> Bool[np.ndarray, "H W"]:
    if not has_outline(annotation):
        return box_region(annotation, height=photo.height, width=photo.width)
    rle = checked_segmentation(annotation["segmentation"], height=photo.height, width=photo.width)
    if rle is None:
        return np.zeros((photo.height, photo.width), dtype=bool)
    return np.asarray(coco_mask.decode(rle), dtype=bool)
