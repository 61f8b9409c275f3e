from pathlib import Path

import numpy as np
import pytest
import torch

from eps.metrics.miou import confusion_matrix, segmentation_scores

GOLDEN = Path(__file__).parents[1] / "golden"


def label_maps(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = np.array([0, 1, 2, 3, 255], dtype=np.uint8)
    return generator.choice(values, size=(2, 9, 11)), generator.choice(values, size=(2, 9, 11))


def test_recorded_vectors() -> None:
    with np.load(GOLDEN / "evaluate.npz") as record:
        scores = segmentation_scores(confusion_matrix(record["prediction"], record["truth"], classes=20))
        for name in ("iou", "precision", "recall", "miou", "pixel_accuracy", "fw_iou"):
            np.testing.assert_allclose(getattr(scores, name), record[name], rtol=1e-14, err_msg=name)
    assert scores.ignored == 0


def test_matrix_equals_loops() -> None:
    prediction, truth = label_maps()
    expected = np.zeros((4, 5), dtype=int)
    for place in np.ndindex(truth.shape):
        if truth[place] != 255:
            expected[truth[place], 4 if prediction[place] == 255 else prediction[place]] += 1
    np.testing.assert_array_equal(confusion_matrix(prediction, truth, classes=3), expected)


def test_scores_equal_sets_of_pixels() -> None:
    prediction, truth = label_maps()
    scores = segmentation_scores(confusion_matrix(prediction, truth, classes=3))
    judged = {place for place in np.ndindex(truth.shape) if truth[place] != 255}
    for label in range(4):
        true = {place for place in judged if truth[place] == label}
        found = {place for place in judged if prediction[place] == label}
        assert scores.iou[label] == pytest.approx(len(true & found) / len(true | found))
        assert scores.precision[label] == pytest.approx(len(true & found) / len(found))
        assert scores.recall[label] == pytest.approx(len(true & found) / len(true))
    assert scores.miou == pytest.approx(sum(scores.iou) / 4)
    assert scores.ignored == pytest.approx(sum(prediction[place] == 255 for place in judged) / len(judged))
    assert scores.pixel_accuracy == pytest.approx(sum(prediction[p] == truth[p] for p in judged) / len(judged))


def test_matrices_of_photos_add_up() -> None:
    prediction, truth = label_maps()
    parts = [confusion_matrix(p, t, classes=3) for p, t in zip(prediction, truth, strict=True)]
    np.testing.assert_array_equal(sum(parts), confusion_matrix(prediction, truth, classes=3))


def test_tensors_and_arrays_of_any_integer_type_agree() -> None:
    prediction, truth = label_maps()
    tensors = confusion_matrix(torch.from_numpy(prediction), torch.from_numpy(truth).int(), classes=3)
    np.testing.assert_array_equal(tensors, confusion_matrix(prediction, truth.astype(np.int64), classes=3))


def test_many_classes_do_not_overflow_a_byte() -> None:
    labels = np.full((2, 2), 200, dtype=np.uint8)
    assert confusion_matrix(labels, labels, classes=200)[200, 200] == 4


def test_perfect() -> None:
    _, truth = label_maps()
    scores = segmentation_scores(confusion_matrix(np.where(truth == 255, 0, truth), truth, classes=3))
    assert (scores.iou == 1).all()
    assert scores[1] == scores.pixel_accuracy == scores.fw_iou == 1


def test_predicted_ignore_is_wrong() -> None:
    truth, prediction = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 255])
    scores = segmentation_scores(confusion_matrix(prediction, truth, classes=1))
    assert scores.iou.tolist() == [1.0, 0.5]
    assert (scores.pixel_accuracy, scores.ignored, scores.miou) == (0.75, 0.25, 0.75)
    assert scores.precision.tolist() == [1.0, 1.0]


def test_absent_class_is_left_out_of_the_mean_and_a_false_one_is_not() -> None:
    truth, prediction = np.array([0, 0, 1]), np.array([0, 2, 1])
    scores = segmentation_scores(confusion_matrix(prediction, truth, classes=3))
    np.testing.assert_array_equal(scores.iou, [0.5, 1.0, 0.0, np.nan])
    assert scores.miou == pytest.approx(0.5)
    np.testing.assert_array_equal(scores.recall, [0.5, 1.0, np.nan, np.nan])
    np.testing.assert_array_equal(scores.precision, [1.0, 1.0, 0.0, np.nan])


def test_all_ignored_or_empty_scores_nothing() -> None:
    for truth in (np.full((2, 2), 255), np.zeros((0, 2), dtype=np.int64)):
        matrix = confusion_matrix(np.zeros_like(truth), truth, classes=2)
        assert not matrix.any()
        scores = segmentation_scores(matrix)
        assert np.isnan(scores.iou).all()
        assert np.isnan([scores.miou, scores.pixel_accuracy, scores.fw_iou, scores.ignored]).all()


@pytest.mark.parametrize("value", [-1, 3, 254, 300])
def test_labels_out_of_range(value: int) -> None:
    good, bad = np.array([[0, 1]]), np.array([[0, value]])
    with pytest.raises(ValueError, match=f"prediction holds the label {value}"):
        confusion_matrix(bad, good, classes=2)
    with pytest.raises(ValueError, match=f"truth holds the label {value}"):
        confusion_matrix(good, bad, classes=2)
