import numpy as np
import pytest
import torch

from eps.metrics.confusion import confusion_ratio, context_confusion, leakage, leakage_counts
from eps.metrics.miou import confusion_matrix


def maps(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    prediction = generator.choice(np.array([0, 1, 2, 3, 255], dtype=np.uint8), size=(8, 9))
    return prediction, generator.integers(0, 3, size=(8, 9)).astype(np.uint8)  # class 2 has no context


def test_counts_equal_loops() -> None:
    prediction, context = maps()
    counts = leakage_counts(prediction, context, classes=3)
    for c in range(3):
        pixels = [prediction[place] == c + 1 for place in np.ndindex(8, 9) if context[place] == c + 1]
        assert (counts.leaked[c], counts.total[c]) == (sum(pixels), len(pixels))
    assert counts.leaked[:2].all()
    assert counts.total[2] == 0


def test_counts_of_halves_add_up() -> None:
    prediction, context = maps()
    whole = leakage_counts(prediction, context, classes=3)
    top, bottom = (leakage_counts(prediction[rows], context[rows], classes=3) for rows in (slice(3), slice(3, None)))
    np.testing.assert_array_equal(top.leaked + bottom.leaked, whole.leaked)
    np.testing.assert_array_equal(top.total + bottom.total, whole.total)


def test_tensors_equal_arrays() -> None:
    prediction, context = maps()
    tensors = leakage_counts(torch.from_numpy(prediction), torch.from_numpy(context), classes=3)
    np.testing.assert_array_equal(tensors, leakage_counts(prediction, context, classes=3))


def test_only_the_own_class_leaks() -> None:
    counts = leakage_counts(np.array([[2, 0, 255, 1]]), np.array([[1, 1, 1, 1]]), classes=2)
    assert (counts.leaked.tolist(), counts.total.tolist()) == ([1, 0], [4, 0])


def test_shares_and_mean() -> None:
    result = leakage(np.array([1, 0, 3]), np.array([4, 0, 4]))
    np.testing.assert_array_equal(result.per_class, [0.25, np.nan, 0.75])
    assert result.mean == 0.5


def test_no_context_at_all() -> None:
    counts = leakage_counts(np.zeros((0, 0), dtype=np.uint8), np.zeros((0, 0), dtype=np.uint8), classes=2)
    result = leakage(counts.leaked, counts.total)
    assert np.isnan(result.per_class).all()
    assert np.isnan(result.mean)


@pytest.mark.parametrize("value", [-1, 3, 255])
def test_context_out_of_range(value: int) -> None:
    with pytest.raises(ValueError, match=r"outside of 0\.\.2"):
        leakage_counts(np.array([[0, 0]]), np.array([[0, value]]), classes=2)


def test_confusion_ratio_equals_counting() -> None:
    prediction, truth = maps()
    matrix = confusion_matrix(prediction, truth, classes=3)
    false = sum(truth[p] == 2 and prediction[p] == 1 for p in np.ndindex(8, 9))
    right = sum(truth[p] == 1 and prediction[p] == 1 for p in np.ndindex(8, 9))
    assert confusion_ratio(matrix, target=1, coincident=2) == pytest.approx(false / right)
    assert confusion_ratio(matrix, target=2, coincident=1) != pytest.approx(false / right)


def test_confusion_ratio_without_hits() -> None:
    matrix = np.array([[5, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert confusion_ratio(matrix, target=1, coincident=0) == np.inf
    assert np.isnan(confusion_ratio(matrix, target=2, coincident=0))


def test_context_confusion() -> None:
    ratio = context_confusion(np.array([2, 3, 0, 0]), np.array([8, 0, 0, 5]))
    np.testing.assert_array_equal(ratio, [0.25, np.inf, np.nan, 0.0])
