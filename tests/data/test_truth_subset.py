"""Truth of some classes against a loop over pixels; the others are background."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from jaxtyping import UInt8

from eps.data.samples import PhotoMasks
from eps.data.truth import Truth
from eps.data.truth_subset import TruthOfClasses
from eps.errors import UserError

KNOWN = ("cat", "dog", "bird")


@dataclass
class Whole:
    labels: UInt8[np.ndarray, "H W"]

    def covers(self, ids: Sequence[str]) -> bool:
        return list(ids) == ["a"]

    def semantic(self, photo: str) -> UInt8[np.ndarray, "H W"]:
        return self.labels

    def fingerprint(self, ids: Sequence[str]) -> str:
        return "whole"

    def __call__(self, photo: str) -> PhotoMasks:
        masks = np.stack([self.labels == label for label in (1, 2, 3, 2)])
        boxes = np.arange(16.0).reshape(4, 4)
        uncertain = np.array([False, True, False, False])
        return PhotoMasks(self.labels, masks, np.array([0, 1, 2, 1]), uncertain, boxes, np.arange(4.0))

    def context(self, photo: str) -> UInt8[np.ndarray, "H W"] | None:
        return self.labels if photo == "a" else None


def labels(seed: int = 0) -> UInt8[np.ndarray, "H W"]:
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 3, 255], dtype=np.uint8), (5, 7))


def subset(*classes: str, whole: Truth | None = None) -> TruthOfClasses:
    return TruthOfClasses(whole=whole or Whole(labels()), known=KNOWN, classes=classes)


def test_labels() -> None:
    expected = labels().copy()
    for pixel in np.nditer(expected, op_flags=[["readwrite"]]):
        name = {1: "cat", 2: "dog", 3: "bird"}.get(int(pixel))
        if name is not None:
            pixel[...] = {"bird": 1, "dog": 2}.get(name, 0)
    truth = subset("bird", "dog")
    assert np.array_equal(truth.semantic("a"), expected)
    context = truth.context("a")
    assert context is not None
    assert np.array_equal(context, expected)
    assert truth.context("b") is None
    assert truth.covers(["a"])
    assert not truth.covers(["b"])


def test_instances() -> None:
    found, whole = subset("bird", "dog")("a"), Whole(labels())("a")
    assert found.classes.tolist() == [1, 0, 1]
    assert np.array_equal(found.masks, whole.masks[[1, 2, 3]])
    assert found.uncertain.tolist() == [True, False, False]
    assert found.boxes is not None
    assert found.boxes[:, 0].tolist() == [4, 8, 12]
    assert found.areas is not None
    assert found.areas.tolist() == [1, 2, 3]


def test_all_classes_in_order_are_the_whole() -> None:
    found, whole = subset(*KNOWN)("a"), Whole(labels())("a")
    for mine, theirs in zip(found, whole, strict=True):
        assert np.array_equal(mine, theirs)


def test_another_choice_is_another_truth() -> None:
    assert len({subset(*chosen).fingerprint(["a"]) for chosen in (("cat",), ("dog",), ("cat", "dog"))}) == 3


def test_a_label_of_no_class() -> None:
    with pytest.raises(UserError, match="photo 'a': the true mask has the label 4, there are 3 classes"):
        subset("cat", whole=Whole(np.full((2, 2), 4, dtype=np.uint8))).semantic("a")
