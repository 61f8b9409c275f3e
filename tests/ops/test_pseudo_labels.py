import numpy as np
import pytest
import torch

from eps.errors import UserError
from eps.ops.pseudo_labels import (
    alpha_background,
    best_threshold,
    constant_background,
    label_map,
    most_probable,
    threshold_agreement,
)


def scores_of(classes: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(classes, 7, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_label(scores: list[float], threshold: float, band: float) -> int:
    ranked = sorted(range(len(scores)), key=lambda c: -scores[c])
    best = scores[ranked[0]]
    if band > 0 and abs(best - threshold) < band:
        return 255
    if band > 0 and len(ranked) > 1 and scores[ranked[1]] > threshold and best - scores[ranked[1]] < band:
        return 255
    return ranked[0] + 1 if best > threshold else 0


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("band", [0.0, 0.1])
def test_labels_equal_loops(classes: int, band: float) -> None:
    scores = scores_of(classes)
    labels = label_map(scores, threshold=0.6, ignore_band=band)
    expected = [[naive_label(scores[:, y, x].tolist(), 0.6, band) for x in range(9)] for y in range(7)]
    assert labels.tolist() == expected
    assert set(labels.flatten().tolist()) >= ({0, 1, 255} if band else {0, 1})


def test_constant_wins_a_draw() -> None:
    scores = torch.tensor([0.5, 0.25]).view(1, 1, 2)
    assert label_map(scores, threshold=0.5).tolist() == [[0, 0]]
    assert label_map(scores, threshold=0.25).tolist() == [[1, 0]]


def test_band_ignores_close_classes_above_the_threshold_alone() -> None:
    scores = torch.tensor([[0.9, 0.9, 0.9], [0.85, 0.1, 0.7]]).view(2, 1, 3)
    assert label_map(scores, threshold=0.3, ignore_band=0.1).tolist() == [[255, 1, 1]]
    low = torch.tensor([0.04, 0.03]).view(2, 1, 1)
    assert label_map(low, threshold=0.3, ignore_band=0.1).tolist() == [[0]]


def test_wider_band_ignores_more() -> None:
    scores = scores_of()
    previous = torch.zeros(7, 9, dtype=torch.bool)
    for band in (0.0, 0.05, 0.1, 0.3):
        ignored = label_map(scores, threshold=0.5, ignore_band=band) == 255
        assert (ignored | ~previous).all()
        previous = ignored
    assert previous.any()


def test_labels_follow_the_order_of_classes() -> None:
    scores = scores_of()
    reverse = label_map(scores.flip(0), threshold=0.6, ignore_band=0.05).long()
    straight = label_map(scores, threshold=0.6, ignore_band=0.05).long()
    assert torch.equal(torch.where((straight > 0) & (straight < 255), 4 - straight, straight), reverse)


@pytest.mark.parametrize("classes", [0, 3])
def test_photo_without_tags_is_background(classes: int) -> None:
    labels = label_map(torch.zeros(classes, 2, 3), threshold=0.05, ignore_band=0.2)
    assert labels.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_too_many_classes() -> None:
    with pytest.raises(ValueError, match="255 classes"):
        label_map(torch.zeros(255, 1, 1), threshold=0.5)
    highest = torch.zeros(254, 1, 1)
    highest[253] = 1
    assert label_map(highest, threshold=0.5).item() == 254


def test_agreement_equals_loops() -> None:
    scores = scores_of()
    saliency = torch.rand(7, 9, generator=torch.Generator().manual_seed(5))
    thresholds = torch.tensor([0.2, 0.6, 0.9], dtype=torch.float64)
    intersection, union = threshold_agreement(scores, saliency, thresholds)
    for t, threshold in enumerate(thresholds.tolist()):
        pairs = [(max(scores[:, y, x].tolist()) > threshold, float(saliency[y, x]) > 0.5) for y, x in np.ndindex(7, 9)]
        assert intersection[t].item() == sum(a and b for a, b in pairs)
        assert union[t].item() == sum(a or b for a, b in pairs)


def test_agreement_of_a_blank_photo_without_classes() -> None:
    intersection, union = threshold_agreement(torch.zeros(0, 2, 2), torch.zeros(2, 2), torch.tensor([0.0, 0.5]))
    assert intersection.tolist() == union.tolist() == [0, 0]


def test_best_threshold_recovers_the_one_that_made_the_saliency() -> None:
    scores = scores_of()
    saliency = (scores.amax(dim=0) > 0.7).double()
    thresholds = torch.arange(0.05, 1, 0.05, dtype=torch.float64)
    assert best_threshold(*threshold_agreement(scores, saliency, thresholds), thresholds) == pytest.approx(0.7)


def test_best_threshold_takes_the_ratio_and_the_first_of_equals() -> None:
    thresholds = torch.tensor([0.1, 0.2, 0.3, 0.4])
    counts = torch.tensor([50, 30, 15, 0]), torch.tensor([100, 40, 20, 0])
    assert best_threshold(*counts, thresholds) == pytest.approx(0.2)


def test_blank_saliency_cannot_choose() -> None:
    nothing = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(UserError, match=r"pseudo_masks\.threshold"):
        best_threshold(nothing, torch.tensor([9, 3]), torch.tensor([0.1, 0.2]))


def test_background_is_first() -> None:
    scores = scores_of(2)
    planes = alpha_background(scores, alpha=3.0)
    assert torch.equal(planes[1:], scores)
    for y, x in np.ndindex(7, 9):
        expected = (1 - max(float(scores[0, y, x]), float(scores[1, y, x]))) ** 3
        assert planes[0, y, x].item() == pytest.approx(expected, rel=1e-12)


def test_background_alone() -> None:
    assert alpha_background(torch.zeros(0, 1, 2), alpha=16.0).tolist() == [[[1.0, 1.0]]]


@pytest.mark.parametrize("classes", [1, 3])
def test_constant_background_equals_loops(classes: int) -> None:
    scores = scores_of(classes)
    planes = constant_background(scores, threshold=0.3)
    assert planes.shape == (classes + 1, 7, 9)
    for y, x in np.ndindex(7, 9):
        pixel = [0.3, *scores[:, y, x].tolist()]
        assert planes[:, y, x].tolist() == pytest.approx([value / sum(pixel) for value in pixel], rel=1e-12)


def test_constant_background_without_scores_is_all_background() -> None:
    assert constant_background(torch.zeros(2, 1, 1), threshold=0.4).flatten().tolist() == [1, 0, 0]


def test_threshold_and_constant_background_label_alike() -> None:
    """Without a CRF between them, both ways from scores to labels are the same."""
    scores = scores_of()
    planes = constant_background(scores, threshold=0.6)
    assert torch.equal(most_probable(planes, classes=torch.arange(3)), label_map(scores, threshold=0.6))


@pytest.mark.parametrize("band", [0.0, 0.1])
def test_most_probable_equals_loops(band: float) -> None:
    probabilities = scores_of(4)
    labels = most_probable(probabilities, classes=torch.tensor([4, 0, 19]), ignore_band=band)
    assert labels.dtype == torch.uint8
    for y, x in np.ndindex(7, 9):
        pixel = probabilities[:, y, x].tolist()
        best, second = sorted(pixel, reverse=True)[:2]
        expected = 255 if band and best - second < band else [0, 5, 1, 20][pixel.index(best)]
        assert labels[y, x].item() == expected
    assert set(labels.flatten().tolist()) == ({0, 5, 1, 20, 255} if band else {0, 5, 1, 20})


def test_most_probable_of_the_background_alone() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert most_probable(torch.ones(1, 2, 2), classes=nothing, ignore_band=0.9).tolist() == [[0, 0], [0, 0]]


def test_most_probable_ignores_what_is_within_the_band_alone() -> None:
    probabilities = torch.tensor([[0.5, 0.625, 0.75], [0.5, 0.375, 0.25]]).view(2, 1, 3)
    assert most_probable(probabilities, classes=torch.tensor([1]), ignore_band=0.25).tolist() == [[255, 0, 0]]
    assert most_probable(probabilities, classes=torch.tensor([1]), ignore_band=0.5).tolist() == [[255, 255, 0]]
