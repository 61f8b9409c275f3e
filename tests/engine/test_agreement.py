import numpy as np
import pytest
import torch

from eps.engine.agreement import THRESHOLDS, LabelTally, agreement, disagreement
from eps.errors import UserError

Photo = tuple[torch.Tensor, torch.Tensor]


def photos(count: int = 3) -> list[Photo]:
    """Of different sizes and numbers of present classes."""
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.rand(2, 4 + i, 6, generator=generator), torch.rand(4 + i, 6, generator=generator)) for i in range(count)
    ]


def naive(pairs: list[Photo], threshold: float) -> float:
    shared = either = 0
    for scores, saliency in pairs:
        for y, x in np.ndindex(*saliency.shape):
            foreground, salient = max(scores[:, y, x].tolist()) > threshold, saliency[y, x].item() > 0.5
            shared += foreground and salient
            either += foreground or salient
    return shared / either


def test_thresholds_are_those_of_the_field() -> None:
    assert THRESHOLDS[0] == 0.05
    assert THRESHOLDS[-1] == 0.95
    assert len(THRESHOLDS) == 19


def test_equals_loops() -> None:
    found = agreement(photos())
    expected = [naive(photos(), float(np.float32(t))) for t in THRESHOLDS]
    assert found.iou == pytest.approx(expected, rel=1e-6)
    assert found.threshold() == THRESHOLDS[int(np.argmax(expected))]


def test_finds_the_threshold_that_made_the_saliency() -> None:
    made = [(scores, (scores.amax(dim=0) > 0.65).float()) for scores, _ in photos()]
    found = agreement(iter(made))
    assert found.threshold() == 0.65
    assert max(found.iou) == 1


def test_order_of_photos_is_free() -> None:
    assert agreement(photos()).iou == agreement(reversed(photos())).iou


@pytest.mark.parametrize("saliency", [0.0, 0.5])
def test_blank_saliency(saliency: float) -> None:
    found = agreement([(scores, torch.full_like(old, saliency)) for scores, old in photos()])
    assert found.iou == [0] * 19
    with pytest.raises(UserError, match=r"pseudo_masks\.threshold=auto"):
        found.threshold()


def test_no_photo() -> None:
    with pytest.raises(UserError, match="auto"):
        agreement([]).threshold()


LABELS = torch.tensor([[0, 1, 1, 255], [0, 3, 3, 255]], dtype=torch.uint8)


def test_tally() -> None:
    tally = LabelTally()
    saliency = torch.tensor([[1.0, 1, 0, 1], [0, 1, 0.5, 0]])
    tally.add(LABELS, saliency, torch.tensor([True, True, True]), instances=2, uncertain=1)
    tally.add(LABELS[:, :1], saliency[:, :1], torch.tensor([False, True, False]), instances=0, uncertain=0)
    assert tally.counts() == {
        "photos": 2,
        "pixels": 10,
        "ignored": 2,
        "foreground": 4,
        "instances": 2,
        "uncertain": 1,
        "shared": 2,
        "either": 7,
        "tags": 4,
        "tags_found": 2,
        "classes_found": 2,
    }
    assert tally.score() == pytest.approx(2 * 2 / (4 + 2) * 2 / 7)


def test_score_without_saliency_is_the_agreement_with_tags() -> None:
    tally = LabelTally()
    tally.add(LABELS, None, torch.tensor([True, True, False, True]), instances=2, uncertain=0)
    precision, recall = 1 / 2, 1 / 3  # classes 0 and 2 are seen, 0, 1 and 3 are tagged
    assert tally.score() == pytest.approx(2 * precision * recall / (precision + recall))


def test_score_of_nothing() -> None:
    assert LabelTally().score() == 0
    tally = LabelTally()
    tally.add(LABELS[:, :1], torch.zeros(2, 1), torch.zeros(3, dtype=torch.bool), instances=0, uncertain=0)
    assert tally.score() == 0


def test_perfect_score() -> None:
    tally = LabelTally()
    tally.add(LABELS[:, 1:3], torch.ones(2, 2), torch.tensor([True, False, True]), instances=2, uncertain=0)
    assert tally.score() == 1


def test_disagreement_equals_loops_and_leaves_ignored_pixels_out() -> None:
    generator = np.random.default_rng(0)
    labels = generator.choice(np.array([0, 0, 1, 2, 255], dtype=np.uint8), size=(9, 7))
    saliency = generator.random((9, 7)).astype(np.float32)
    shared = either = 0
    for label, salience in zip(labels.flat, saliency.flat, strict=True):
        if label != 255:
            shared += label > 0 and salience > 0.5
            either += label > 0 or salience > 0.5
    assert disagreement(labels, saliency) == pytest.approx(1 - shared / either)


@pytest.mark.parametrize(
    ("label", "salience", "expected"), [(1, 1.0, 0.0), (1, 0.0, 1.0), (0, 1.0, 1.0), (0, 0.0, 0.0), (255, 1.0, 0.0)]
)
def test_disagreement_of_one_pixel(label: int, salience: float, expected: float) -> None:
    found = disagreement(np.array([[label]], dtype=np.uint8), np.array([[salience]], dtype=np.float32))
    assert found == expected
