"""Some of a dataset's classes: in their order, the others' photos and objects gone."""

import numpy as np
import pytest

from eps.data.listing import Listing
from eps.data.subset import label_table, scores_of, with_classes
from eps.errors import UserError

LISTING = Listing(
    classes=("cat", "dog", "bird"),
    labels={"a": ("cat", "dog"), "b": ("bird",), "c": (), "d": ("dog",)},
    splits={"train": ("a", "b", "c", "broken"), "val": ("b", "d")},
    notes=("earlier",),
)


def test_tags_and_splits() -> None:
    """Photos of unknown tags stay: what is wrong with them is still to be told."""
    found = with_classes(LISTING, ["dog", "cat"], thinned=("train", "other"))
    assert found.classes == ("dog", "cat")
    assert found.labels == {"a": ("dog", "cat"), "b": (), "c": (), "d": ("dog",)}
    assert found.splits == {"train": ("a", "broken"), "val": ("b", "d")}
    assert found.notes == ("earlier", "data.classes: 2 photos of the split train show none of them and are left out")


def test_all_classes_change_nothing_but_photos_without_any() -> None:
    found = with_classes(LISTING, LISTING.classes, thinned=())
    assert found == LISTING


def test_unknown_class() -> None:
    with pytest.raises(UserError, match="no class 'cow'; it has cat, dog, bird"):
        with_classes(LISTING, ["cat", "cow"], thinned=())


def test_scores_go_by_names_too() -> None:
    """One that the dataset has not is left out, one that the segmenter does not know scores nothing."""
    table = label_table(["bird", "cat", "dog"], ["dog", "bird"])
    assert scores_of(np.array([1.0, 2.0, 3.0]), table, classes=2).tolist() == [3.0, 1.0]
    assert scores_of(np.array([1.0]), label_table(["bird"], ["bird"]), classes=2).tolist() == [1.0, -np.inf]
