import json
from typing import Any

import numpy as np
import pytest

from eps.metrics.mask_ap import PhotoInstances
from eps.metrics.scorecard import Scorecard

CLASSES = ("train", "boat", "car")
Pixels = list[list[int]]


def labels(rows: Pixels) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)


def things(masks: list[Pixels], classes: list[int], *, scores: list[float] | None = None) -> PhotoInstances:
    return PhotoInstances(
        masks=np.array(masks, dtype=bool).reshape(-1, 2, 3),
        classes=np.array(classes, dtype=np.int64),
        scores=None if scores is None else np.array(scores),
        crowd=np.zeros(len(classes), dtype=bool),
    )


TRUTH = labels([[1, 1, 0], [2, 255, 0]])
FOUND = labels([[1, 0, 2], [2, 1, 255]])
CONTEXT = labels([[0, 0, 2], [0, 0, 1]])
UPPER, LOWER = [[1, 1, 0], [0, 0, 0]], [[0, 0, 0], [1, 0, 0]]


def summary(*, context: bool = True, instances: bool = True) -> dict[str, Any]:
    card = Scorecard(classes=CLASSES)
    card.add_labels(FOUND, TRUTH, CONTEXT if context else None)
    if instances:
        card.add_instances(things([UPPER, LOWER], [0, 0], scores=[0.9, 0.5]), things([UPPER, LOWER], [0, 1]))
    return card.summary()


def test_labels() -> None:
    """Five pixels are judged; background 0 of 3, train 1 of 2, boat 1 of 2, no car anywhere; one pixel is ignored."""
    made = summary()
    assert made["per_class"] == {"background": 0.0, "train": 50.0, "boat": 50.0, "car": None}
    assert made["miou"] == pytest.approx(100 / 3)
    assert made["precision"] == {"background": 0.0, "train": 100.0, "boat": 50.0, "car": None}
    assert made["recall"] == {"background": 0.0, "train": 50.0, "boat": 100.0, "car": None}
    assert made["pixel_accuracy"] == pytest.approx(40)
    assert made["ignored"] == pytest.approx(20)
    assert np.sum(made["confusion_matrix"]) == 5


def test_leakage() -> None:
    """Boat's context is called boat, train's is ignored."""
    made = summary()["leakage"]
    assert made["mean"] == 0.5
    assert made["per_class"] == {"train": 0.0, "boat": 1.0, "car": None}
    assert made["confusion_ratio"] == {"train": 0.0, "boat": 1.0, "car": None}


def test_instances() -> None:
    made = summary()["instances"]
    assert made["ap50_per_class"] == {"train": pytest.approx(100), "boat": pytest.approx(0), "car": None}
    assert [made["ap"], made["ap50"], made["ap75"]] == pytest.approx([50, 50, 50])


def test_what_is_not_known_is_none() -> None:
    made = summary(context=False, instances=False)
    assert made["leakage"] is None
    assert made["instances"] is None


def test_context_of_nothing_and_photos_without_objects() -> None:
    card = Scorecard(classes=CLASSES)
    nothing = np.zeros((2, 3), dtype=np.uint8)
    card.add_labels(nothing, nothing, nothing)
    card.add_instances(things([UPPER], [0], scores=[0.9]), things([], []))
    made = card.summary()
    assert made["leakage"] is None
    assert made["instances"] is None
    assert made["miou"] == 100


def test_some_photos_without_objects() -> None:
    card = Scorecard(classes=CLASSES)
    card.add_instances(things([], [], scores=[]), things([], []))
    card.add_instances(things([UPPER], [0], scores=[0.9]), things([UPPER], [0]))
    assert card.summary()["instances"]["ap"] == pytest.approx(100)


@pytest.mark.parametrize("full", [False, True])
def test_json_can_hold_it(full: bool) -> None:
    made = summary(context=full, instances=full)
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_photos_add_up_in_any_order() -> None:
    photos = [(FOUND, TRUTH, CONTEXT), (TRUTH, TRUTH, None), (np.zeros_like(TRUTH), TRUTH, CONTEXT)]
    one, other = Scorecard(classes=CLASSES), Scorecard(classes=CLASSES)
    for photo in photos:
        one.add_labels(*photo)
    for photo in reversed(photos):
        other.add_labels(*photo)
    assert one.summary() == other.summary()
    side_by_side = Scorecard(classes=CLASSES)
    side_by_side.add_labels(
        np.concatenate([p[0] for p in photos], axis=1), np.concatenate([p[1] for p in photos], axis=1), None
    )
    assert one.miou() == pytest.approx(side_by_side.miou())


def test_labels_the_dataset_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"neither in 0\.\.3 nor 255"):
        Scorecard(classes=CLASSES).add_labels(FOUND, labels([[4, 0, 0], [0, 0, 0]]), None)
