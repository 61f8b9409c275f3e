import math

import pytest
import torch

from eps.losses.boxes import box_loss, confidence_loss, hardest_negatives


def random_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


CLASSES = torch.tensor(
    [
        [0, 0, 2, 0, -1, 0, 0, 1, 0, 0, 0, 0, -1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0],
        [1, 1, 2, 0, -1, 0, 0, 3, 0, 0, 0, 0, -1, 0, 0, 0],
    ]
)


def naive_confidence(logits: torch.Tensor, classes: torch.Tensor, ratio: int) -> float:
    total = 0.0
    for image, labels in zip(logits.tolist(), classes.tolist(), strict=True):
        costs = []
        for row, label in zip(image, labels, strict=True):
            denominator = sum(math.exp(value) for value in row)
            costs.append(-math.log(math.exp(row[max(label, 0)]) / denominator))
        positives = [cost for cost, label in zip(costs, labels, strict=True) if label > 0]
        negatives = sorted((cost for cost, label in zip(costs, labels, strict=True) if label == 0), reverse=True)
        total += sum(positives) + sum(negatives[: ratio * len(positives)])
    return total


def test_box_loss_against_the_equation() -> None:
    offsets, targets = random_logits(6, 4), random_logits(6, 4, seed=1)
    distance = (offsets - targets).abs().flatten().tolist()
    assert any(d < 1 for d in distance)
    assert any(d > 1 for d in distance)
    expected = sum(0.5 * d * d if d < 1 else d - 0.5 for d in distance)
    assert box_loss(offsets, targets).item() == pytest.approx(expected)


def test_box_loss_of_a_perfect_box_is_zero() -> None:
    offsets = random_logits(6, 4)
    assert box_loss(offsets, offsets) == 0


def test_box_loss_without_a_positive_is_a_zero_with_a_gradient() -> None:
    offsets = torch.zeros(0, 4, requires_grad=True)
    loss = box_loss(offsets, torch.zeros(0, 4))
    loss.backward()
    assert loss == 0
    assert offsets.grad is not None


def test_box_loss_gradient() -> None:
    offsets, targets = random_logits(3, 4).requires_grad_(), random_logits(3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda x: box_loss(x, targets), offsets)


@pytest.mark.parametrize("ratio", [0, 1, 3, 100])
def test_confidence_loss_against_loops(ratio: int) -> None:
    logits = random_logits(3, 16, 4)
    loss = confidence_loss(logits, CLASSES, negatives_per_positive=ratio)
    assert loss.item() == pytest.approx(naive_confidence(logits, CLASSES, ratio))


def test_confidence_of_a_batch_is_the_sum_over_its_images() -> None:
    logits = random_logits(3, 16, 4)
    singles = [confidence_loss(logits[i : i + 1], CLASSES[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(confidence_loss(logits, CLASSES), torch.stack(singles).sum())


def test_the_order_of_anchors_does_not_matter() -> None:
    logits, order = random_logits(3, 16, 4), torch.randperm(16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(confidence_loss(logits[:, order], CLASSES[:, order]), confidence_loss(logits, CLASSES))


def test_the_hardest_negatives_are_those_with_the_least_background() -> None:
    logits = random_logits(3, 16, 4)
    chosen = hardest_negatives(logits, CLASSES, negatives_per_positive=2)
    assert chosen.sum(1).tolist() == [4, 0, 8]
    background = logits.softmax(2)[:, :, 0]
    for image in (0, 2):
        left = (CLASSES[image] == 0) & ~chosen[image]
        assert background[image][chosen[image]].max() < background[image][left].min()


def test_neutral_anchors_count_nowhere() -> None:
    logits = random_logits(3, 16, 4)
    shaken = logits + 50 * random_logits(3, 16, 4, seed=2) * (CLASSES == -1)[:, :, None]
    assert not torch.equal(shaken, logits)
    torch.testing.assert_close(confidence_loss(shaken, CLASSES), confidence_loss(logits, CLASSES))


@pytest.mark.parametrize("label", [0, -1])
def test_confidence_without_a_positive_is_a_zero_with_a_gradient(label: int) -> None:
    logits = random_logits(2, 5, 3).requires_grad_()
    loss = confidence_loss(logits, torch.full((2, 5), label))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_confident_logits_stay_finite_in_float32() -> None:
    logits = torch.tensor([[[200.0, -200.0], [-200.0, 200.0]]])
    assert confidence_loss(logits, torch.tensor([[1, 0]])).item() == pytest.approx(800.0)


def test_confidence_gradient() -> None:
    logits = random_logits(2, 8, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: confidence_loss(x, CLASSES[[0, 2], :8].clamp(max=2)), logits)
