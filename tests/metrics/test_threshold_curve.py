import numpy as np
import pytest
import torch

from eps.metrics.miou import confusion_matrix
from eps.metrics.threshold_curve import threshold_matrices
from eps.ops.pseudo_labels import label_map

THRESHOLDS = (0.05, 0.2, 0.25, 0.5, 0.9)


def photo(seed: int = 0, size: tuple[int, int] = (9, 11)) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties and with values that are exactly a threshold, and a truth with void."""
    generator = np.random.default_rng(seed)
    scores = generator.choice(np.array([0, 0.1, 0.2, 0.25, 0.3, 0.6, 1], dtype=np.float32), size=(3, *size))
    return scores, generator.choice(np.array([0, 1, 2, 3, 255], dtype=np.uint8), size=size)


def naive(scores: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """Pixel by pixel: the first best class where it exceeds the threshold."""
    matrix = np.zeros((4, 5), dtype=int)
    for place in np.ndindex(truth.shape):
        column = scores[:, *place].tolist()
        best = column.index(max(column))
        if truth[place] != 255:
            matrix[truth[place], best + 1 if column[best] > np.float32(threshold) else 0] += 1
    return matrix


def test_equals_loops() -> None:
    scores, truth = photo()
    found = threshold_matrices(scores, truth, thresholds=THRESHOLDS)
    for threshold, matrix in zip(THRESHOLDS, found, strict=True):
        np.testing.assert_array_equal(matrix, naive(scores, truth, threshold))


def test_equals_labelling_at_each_threshold() -> None:
    for seed in range(5):
        scores, truth = photo(seed, (20, 30))
        maps = torch.from_numpy(scores)
        for threshold, matrix in zip(THRESHOLDS, threshold_matrices(maps, truth, thresholds=THRESHOLDS), strict=True):
            labels = label_map(maps, threshold=threshold)
            np.testing.assert_array_equal(matrix, confusion_matrix(labels.numpy(), truth, classes=3))


def test_photos_add_up() -> None:
    scores, truth = photo()
    parts = [
        threshold_matrices(scores[:, rows], truth[rows], thresholds=THRESHOLDS) for rows in (slice(4), slice(4, 9))
    ]
    np.testing.assert_array_equal(sum(parts), threshold_matrices(scores, truth, thresholds=THRESHOLDS))


def test_photo_without_a_tag_is_background() -> None:
    _, truth = photo()
    found = threshold_matrices(np.zeros((3, 9, 11), dtype=np.float32), truth, thresholds=THRESHOLDS)
    assert not found[:, :, 1:].any()
    assert (found.sum(axis=(1, 2)) == (truth != 255).sum()).all()


def test_all_void_and_no_pixel() -> None:
    scores, truth = photo()
    assert not threshold_matrices(scores, np.full_like(truth, 255), thresholds=THRESHOLDS).any()
    assert not threshold_matrices(scores[:, :0], truth[:0], thresholds=THRESHOLDS).any()


def test_one_pixel() -> None:
    scores, truth = np.array([0.1, 0.3], dtype=np.float32).reshape(2, 1, 1), np.array([[2]], dtype=np.uint8)
    found = threshold_matrices(scores, truth, thresholds=[0.2, 0.3, 0.4])
    assert [int(matrix[2].argmax()) for matrix in found] == [2, 0, 0]


def test_refusals() -> None:
    scores, truth = photo()
    with pytest.raises(ValueError, match="must ascend"):
        threshold_matrices(scores, truth, thresholds=[0.3, 0.2])
    with pytest.raises(ValueError, match=r"the label 4, neither in 0\.\.3"):
        threshold_matrices(scores, np.full_like(truth, 4), thresholds=THRESHOLDS)
