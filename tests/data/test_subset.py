"""Some of a dataset's classes: in their order, the others' photos and objects gone."""

import pytest

from eps.data.listing import Listing
from eps.data.subset import with_classes
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
