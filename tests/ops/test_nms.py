from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from eps.ops.boxes import decode
from eps.ops.nms import Detections, best_first_nms, cross_class_fast_nms, fast_nms, highest

GOLDEN = Path(__file__).parents[1] / "golden"


def scene(count: int = 40, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 0.5
    boxes = torch.cat([low, low + 0.2 + 0.3 * torch.rand(count, 2, generator=generator)], dim=1)
    scores = (torch.randn(count, classes + 1, generator=generator) * 3).softmax(1)[:, 1:].T
    return boxes, scores, torch.randn(count, 5, generator=generator)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    overlap = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def survivors(boxes: np.ndarray, order: list[int], threshold: float) -> list[int]:
    return [n for rank, n in enumerate(order) if all(iou(boxes[n], boxes[o]) <= threshold for o in order[:rank])]


def naive_fast(boxes: np.ndarray, scores: np.ndarray, top_k: int, best: int) -> list[tuple[float, int, int]]:
    candidates = [n for n in range(len(boxes)) if scores[:, n].max() > 0.05]
    found = []
    for c in range(len(scores)):
        order = sorted(candidates, key=lambda n: -scores[c, n])[:top_k]
        found += [(float(scores[c, n]), c, n) for n in survivors(boxes, order, 0.5)]
    return sorted(found, reverse=True)[:best]


def check(found: Detections, expected: list[tuple[float, int, int]], boxes: torch.Tensor, extra: torch.Tensor) -> None:
    chosen = torch.tensor([n for _, _, n in expected])
    assert found.scores.tolist() == [score for score, _, _ in expected]
    assert found.classes.tolist() == [c for _, c, _ in expected]
    assert torch.equal(found.boxes, boxes[chosen])
    assert torch.equal(found.coefficients, extra[chosen])


@pytest.mark.parametrize(("top_k", "best"), [(200, 100), (7, 100), (200, 4)])
def test_fast_nms_against_loops(top_k: int, best: int) -> None:
    boxes, scores, coefficients = scene()
    expected = naive_fast(boxes.numpy(), scores.numpy(), top_k, best)
    for nms in (fast_nms, best_first_nms):
        check(nms(boxes, scores, coefficients, top_k=top_k, max_detections=best), expected, boxes, coefficients)


@pytest.mark.parametrize("top_k", [200, 5])
@pytest.mark.parametrize("best", [1, 3, 30, 100, 1000])
@pytest.mark.parametrize("levels", [0, 20])
def test_best_first_is_the_same(top_k: int, best: int, levels: int) -> None:
    """Whether the first scores are enough, more are looked at, or all; with `levels`, many scores are equal."""
    boxes, scores, coefficients = scene(count=300, classes=6, seed=2)
    scores = (scores * levels).round() / levels if levels else scores
    expected = fast_nms(boxes, scores, coefficients, top_k=top_k, max_detections=best)
    found = best_first_nms(boxes, scores, coefficients, top_k=top_k, max_detections=best)
    assert len(expected.scores) > 0
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_highest_keeps_the_order_of_equals() -> None:
    scores = torch.tensor([[0.5, 0.0, 1.0, 0.5, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 1e-30]])
    values, places = highest(scores, 5)
    assert places.tolist() == [[2, 5, 0, 3, 1], [5, 0, 1, 2, 3]]
    assert torch.equal(values, scores.gather(1, places))
    assert highest(scores, 9)[1].shape == (2, 6)


@pytest.mark.parametrize("top_k", [200, 7])
def test_cross_class_against_loops(top_k: int) -> None:
    boxes, scores, coefficients = scene()
    best, classes = scores.numpy().max(0), scores.numpy().argmax(0)
    order = sorted((n for n in range(40) if best[n] > 0.05), key=lambda n: -best[n])[:top_k]
    expected = [(float(best[n]), int(classes[n]), n) for n in survivors(boxes.numpy(), order, 0.5)]
    check(cross_class_fast_nms(boxes, scores, coefficients, top_k=top_k), expected, boxes, coefficients)


@pytest.mark.parametrize("nms", [fast_nms, best_first_nms, cross_class_fast_nms])
def test_the_order_of_anchors_does_not_matter(nms: Callable[..., Detections]) -> None:
    boxes, scores, coefficients = scene()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    one, two = nms(boxes, scores, coefficients), nms(boxes[order], scores[:, order], coefficients[order])
    assert len(one.boxes) > 3
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_suppressed_box_still_suppresses() -> None:
    # A chain: the second overlaps the first, the third only the second. Greedy NMS would keep the third.
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.1, 0.0, 0.5, 0.4], [0.2, 0.0, 0.6, 0.4]])
    scores = torch.tensor([[0.9, 0.8, 0.7]])
    for nms in (fast_nms, best_first_nms, cross_class_fast_nms):
        assert nms(boxes, scores, torch.zeros(3, 2)).scores.tolist() == pytest.approx([0.9])


def test_an_overlap_at_the_threshold_is_allowed() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5]])
    for nms in (fast_nms, best_first_nms, cross_class_fast_nms):
        assert len(nms(boxes, torch.tensor([[0.9, 0.8]]), torch.zeros(2, 2)).boxes) == 2
        assert len(nms(boxes, torch.tensor([[0.9, 0.8]]), torch.zeros(2, 2), iou_threshold=0.49).boxes) == 1


def test_classes_suppress_each_other_only_across() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.4, 0.4]])
    scores = torch.tensor([[0.9, 0.0], [0.0, 0.8]])
    assert fast_nms(boxes, scores, torch.zeros(2, 2)).classes.tolist()[:2] == [0, 1]
    assert cross_class_fast_nms(boxes, scores, torch.zeros(2, 2)).classes.tolist() == [0]


def test_an_anchor_over_the_threshold_keeps_its_low_classes() -> None:
    boxes, scores = torch.tensor([[0.0, 0.0, 0.4, 0.4]]), torch.tensor([[0.9], [0.01]])
    assert fast_nms(boxes, scores, torch.zeros(1, 2)).scores.tolist() == pytest.approx([0.9, 0.01])


@pytest.mark.parametrize("nms", [fast_nms, best_first_nms, cross_class_fast_nms])
@pytest.mark.parametrize("count", [0, 3])
def test_nothing_to_see(nms: Callable[..., Detections], count: int) -> None:
    found = nms(torch.rand(count, 4), torch.full((2, count), 0.05), torch.rand(count, 5))
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == found.classes.shape == (0,)
    assert found.coefficients.shape == (0, 5)


@pytest.mark.parametrize("nms", [fast_nms, best_first_nms, cross_class_fast_nms])
def test_boxes_without_area_do_not_suppress(nms: Callable[..., Detections]) -> None:
    found = nms(torch.full((3, 4), 0.5), torch.tensor([[0.9, 0.8, 0.7]]), torch.zeros(3, 2))
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


@pytest.mark.parametrize("name", ["detect", "detect_sparse"])
@pytest.mark.parametrize(
    ("prefix", "nms"), [("fast", fast_nms), ("fast", best_first_nms), ("cross_class", cross_class_fast_nms)]
)
def test_released_detection(name: str, prefix: str, nms: Callable[..., Detections]) -> None:
    golden = {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / f"{name}.npz").items() if value.shape}
    boxes = decode(golden["loc"], golden["priors"])
    found = nms(boxes, golden["conf"][:, 1:].T, golden["coefficients"])
    torch.testing.assert_close(found.boxes, golden[f"{prefix}_box"], rtol=1e-5, atol=1e-6)
    assert torch.equal(found.classes, golden[f"{prefix}_class"])
    assert torch.equal(found.scores, golden[f"{prefix}_score"])
    assert torch.equal(found.coefficients, golden[f"{prefix}_coefficients"])
