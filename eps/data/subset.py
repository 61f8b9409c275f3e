"""Some of a dataset's classes, by name: what belongs to none of them is background."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8

from eps.data.listing import Listing
from eps.errors import UserError
from eps.ops.pseudo_labels import IGNORE


def with_classes(listing: Listing, classes: Sequence[str], *, thinned: Collection[str]) -> Listing:
    """The listing with these classes alone, in this order; photos that show none of them leave the splits `thinned`.

    Raises `UserError` for a class that the dataset has not.
    """
    if unknown := [name for name in classes if name not in listing.classes]:
        raise UserError(f"data.classes: the dataset has no class {unknown[0]!r}; it has {', '.join(listing.classes)}")
    labels = {photo: tuple(tag for tag in classes if tag in tags) for photo, tags in listing.labels.items()}
    splits = {
        split: tuple(photo for photo in ids if labels.get(photo, True)) if split in thinned else ids
        for split, ids in listing.splits.items()
    }
    counts = {split: len(ids) - len(splits[split]) for split, ids in listing.splits.items()}
    notes = [
        f"data.classes: {count} photos of the split {split} show none of them and are left out"
        for split, count in counts.items()
        if count
    ]
    return replace(listing, classes=tuple(classes), labels=labels, splits=splits, notes=(*listing.notes, *notes))


def label_table(known: Sequence[str], classes: Sequence[str]) -> UInt8[np.ndarray, "256"]:
    """By the label that a class has among `known` (its index + 1) the one that it has among `classes`.

    It is 0, background, for those that are not among them; 255, ignore, stays.
    """
    table = np.zeros(256, dtype=np.uint8)
    table[IGNORE] = IGNORE
    for label, name in enumerate(classes, start=1):
        table[known.index(name) + 1] = label
    return table


def scores_of(
    scores: Float[np.ndarray, " k"], table: UInt8[np.ndarray, "256"], *, classes: int
) -> Float[np.ndarray, " c"]:
    """Scores of classes as those of a dataset's (see `label_table`); -inf for one that has none."""
    found = np.full(classes, -np.inf, dtype=np.float32)
    for score, label in zip(scores, table[1 : len(scores) + 1], strict=True):
        if 0 < label <= classes:
            found[label - 1] = score
    return found
