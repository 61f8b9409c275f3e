from pathlib import Path

import numpy as np
import pytest
import torch

from eps.ops.anchors import anchors as pyramid_anchors
from eps.ops.boxes import center_to_corner, corner_to_center, encode
from eps.ops.matching import Match, match

GOLDEN = Path(__file__).parents[1] / "golden"
NONE = torch.zeros(0, 4)


def random_corners(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 0.6
    return torch.cat([low, low + 0.1 + 0.3 * torch.rand(count, 2, generator=generator)], dim=1)


def grid_anchors() -> torch.Tensor:
    return pyramid_anchors(grids=[(8, 8), (4, 4)], scales=[[20.0], [40.0]], ratios=(1.0, 0.5, 2.0), size=(100, 100))


def intersection(a: list[float], b: list[float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def area(a: list[float]) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def naive_match(
    truth: list[list[float]], classes: list[int], corners: list[list[float]], crowds: list[list[float]]
) -> tuple[list[int], list[int]]:
    """The rules of YOLACT's matching, one anchor at a time."""
    overlap = [[intersection(t, a) / (area(t) + area(a) - intersection(t, a)) for a in corners] for t in truth]
    owner: dict[int, int] = {}
    pairs = sorted((-overlap[t][a], t, a) for t in range(len(truth)) for a in range(len(corners)))
    for _, t, a in pairs:
        if t not in owner.values() and a not in owner:
            owner[a] = t
    labels, index = [], []
    for a, box in enumerate(corners):
        best = owner.get(a, max(range(len(truth)), key=lambda t: overlap[t][a]) if truth else 0)
        quality = 2.0 if a in owner else overlap[best][a] if truth else 0.0
        label = classes[best] + 1 if quality >= 0.5 else -1 if quality >= 0.4 else 0
        if label == 0 and any(intersection(box, crowd) / area(box) > 0.7 for crowd in crowds):
            label = -1
        labels.append(label)
        index.append(best)
    return labels, index


def run(truth: torch.Tensor, crowds: torch.Tensor = NONE) -> Match:
    return match(truth, torch.arange(len(truth)) % 3, grid_anchors(), crowds=crowds)


@pytest.mark.parametrize(("truths", "crowds"), [(1, 0), (5, 2), (12, 1), (0, 2)])
def test_against_the_rules_one_by_one(truths: int, crowds: int) -> None:
    truth, crowd = random_corners(truths, seed=truths), random_corners(crowds, seed=9)
    corners = center_to_corner(grid_anchors())
    classes = [i % 3 for i in range(truths)]
    labels, index = naive_match(truth.tolist(), classes, corners.tolist(), crowd.tolist())
    found = run(truth, crowd)
    assert found.classes.tolist() == labels
    assert found.index.tolist() == index
    assert -1 in labels


def test_every_truth_has_an_anchor_however_small_it_is() -> None:
    truth = torch.cat([random_corners(4, seed=3), torch.tensor([[0.5, 0.5, 0.503, 0.503], [0.5, 0.5, 0.502, 0.502]])])
    found = run(truth)
    owned = found.index[found.classes > 0].unique()
    assert owned.tolist() == list(range(6))


def test_two_equal_truths_do_not_share_their_anchor() -> None:
    truth = random_corners(1, seed=3).repeat(2, 1)
    found = run(truth)
    assert found.index[found.classes > 0].unique().tolist() == [0, 1]


def test_the_best_pair_comes_first() -> None:
    # Both truths like anchor 0 best; the second one more, so the first has to take anchor 1 though it overlaps less.
    anchors = corner_to_center(torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.3, 0.0, 0.7, 0.4]]))
    truth = torch.tensor([[0.1, 0.0, 0.5, 0.4], [0.01, 0.0, 0.41, 0.4]])
    found = match(truth, torch.tensor([4, 7]), anchors, crowds=NONE)
    assert found.classes.tolist() == [8, 5]
    assert found.index.tolist() == [1, 0]


def test_the_order_of_truths_does_not_matter() -> None:
    truth, order = random_corners(6, seed=4), torch.tensor([3, 5, 0, 1, 4, 2])
    classes = torch.arange(6)
    one = match(truth, classes, grid_anchors(), crowds=NONE)
    two = match(truth[order], classes[order], grid_anchors(), crowds=NONE)
    assert torch.equal(one.classes, two.classes)
    positive = one.classes > 0
    assert torch.equal(one.index[positive], order[two.index[positive]])


def test_without_truths_all_is_background() -> None:
    assert (run(NONE).classes == 0).all()


def test_a_crowd_makes_background_neutral_but_no_positive() -> None:
    whole = torch.tensor([[-1.0, -1.0, 2.0, 2.0]])
    truth = random_corners(3, seed=5)
    with_crowd, without = run(truth, whole).classes, run(truth).classes
    assert torch.equal(with_crowd[without > 0], without[without > 0])
    assert (with_crowd[without <= 0] == -1).all()
    assert (run(NONE, whole).classes == -1).all()


def test_thresholds_are_inclusive() -> None:
    # IoU exactly 0.5 and 0.25 in binary fractions; a third, perfect anchor takes the truth's own place.
    corners = torch.tensor([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]])
    truth = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    found = match(truth, torch.tensor([0]), corner_to_center(corners), crowds=NONE, positive=0.5, negative=0.25)
    assert found.classes.tolist() == [1, -1, 1]


def test_more_truths_than_anchors() -> None:
    anchors = corner_to_center(random_corners(2, seed=6))
    found = match(random_corners(5, seed=7), torch.arange(5), anchors, crowds=NONE)
    assert (found.classes > 0).all()


def test_released_matching() -> None:
    golden = {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / "loss_yolact_resnet50.npz").items()}
    boxes, classes = golden["targets_1"][:, :4], golden["targets_1"][:, 4].long()
    singles = len(boxes) - int(golden["crowds"][1])
    found = match(boxes[:singles], classes[:singles], golden["priors"], crowds=boxes[singles:])
    assert singles < len(boxes)
    assert torch.equal(found.classes, golden["match1_conf"])
    assert torch.equal(found.index, golden["match1_index"])
    torch.testing.assert_close(encode(boxes[found.index], golden["priors"]), golden["match1_loc"], rtol=1e-5, atol=1e-5)
