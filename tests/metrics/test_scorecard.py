import json
from pathlib import Path
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
    assert made["ap_small"] == pytest.approx(50)
    assert made["ap_medium"] is made["ap_large"] is None
    assert made["boxes"].keys() == made.keys() - {"boxes"}
    assert made["boxes"]["ap50_per_class"]["train"] == pytest.approx(100)


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


def test_recorded_vectors() -> None:
    """What `evaluate` writes is exactly what the reference system printed."""
    card = Scorecard(classes=[str(number) for number in range(1, 21)])
    with np.load(Path(__file__).parents[1] / "golden" / "evaluate.npz") as record:
        for prediction, truth in zip(record["prediction"], record["truth"], strict=True):
            card.add_labels(prediction, truth.astype(np.uint8), None)
        made = card.summary()
        assert made["miou"] == pytest.approx(100 * float(record["miou"]), rel=1e-14)
        assert made["fw_iou"] == pytest.approx(100 * float(record["fw_iou"]), rel=1e-14)
        assert made["pixel_accuracy"] == pytest.approx(100 * float(record["pixel_accuracy"]), rel=1e-14)
        for ours, theirs in (("per_class", "iou"), ("precision", "precision"), ("recall", "recall")):
            values = [np.nan if v is None else v for v in made[ours].values()]
            np.testing.assert_allclose(values, 100 * record[theirs], rtol=1e-14, err_msg=ours)


def test_frequency_weighted_iou() -> None:
    """Two background, two train, one boat of five pixels: 0.4 * 0 + 0.4 * 50 + 0.2 * 50."""
    assert summary()["fw_iou"] == pytest.approx(30)


def test_boundaries_are_scored_where_a_tolerance_is_given() -> None:
    assert summary()["boundary"] is None
    card = Scorecard(classes=CLASSES, boundary_tolerance=0.0)
    square, shifted = np.zeros((2, 4, 6), dtype=np.uint8)
    square[1:3, 2:4], shifted[1:3, 3:5] = 2, 1
    card.add_labels(shifted, square, None)
    card.add_labels(square, square, None)  # 8 of 12 edge pixels, then 12 of 12
    share = pytest.approx(100 * 20 / 24)
    assert card.summary()["boundary"] == {"precision": share, "recall": share, "f1": share, "tolerance": 0.0}
    assert json.dumps(Scorecard(classes=CLASSES, boundary_tolerance=1.0).summary()["boundary"], allow_nan=False)


def test_confusion_ratio_of_chosen_pairs() -> None:
    """One pixel of background is called boat and one pixel of boat is found; no train pixel is; no car is anywhere."""
    card = Scorecard(classes=CLASSES, pairs=[("boat", "background"), ("boat", "train"), ("car", "train")])
    card.add_labels(FOUND, TRUTH, None)
    boat, train, car = card.summary()["pairs"]
    counts = {"false_positive": 1, "true_positive": 1, "confusion_ratio": 1.0}
    assert boat == {"target": "boat", "coincident": "background", **counts}
    assert (train["false_positive"], train["confusion_ratio"]) == (0, 0.0)
    assert (car["true_positive"], car["confusion_ratio"]) == (0, None)


def test_pair_of_an_unknown_class() -> None:
    with pytest.raises(ValueError, match="no class 'rails'; there are background, train, boat, car"):
        Scorecard(classes=CLASSES, pairs=[("train", "rails")])


def test_tags_are_judged_by_what_truth_shows() -> None:
    card = Scorecard(classes=CLASSES)
    assert card.summary()["tags"] is None
    count = len(CLASSES)
    card.add_tags(np.linspace(1, 2, count, dtype=np.float32), labels([[1, 1, 255]]))
    card.add_tags(np.zeros(count, dtype=np.float32), labels([[0, 0, 0]]))
    found = card.summary()["tags"]
    assert found["ap_per_class"] == {name: 100.0 if name == CLASSES[0] else None for name in CLASSES}
    assert found["map"] == 100.0
    assert json.dumps(found, allow_nan=False)
