import math

import numpy as np
import pytest
import torch

from eps.losses.masks import mask_loss, semantic_bce, semantic_cross_entropy

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_masks(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed)) > 0.5


def bce(logit: float, truth: bool) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if truth else 1 - probability)


def halve(masks: torch.Tensor) -> np.ndarray:
    """Bilinear to half the size: every pixel is the mean of four."""
    return masks.double().unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4)).numpy() > 0.5


class Scene:
    """Three truths, five positives, prototypes of 6 x 8 under a photo of 12 x 16."""

    prototypes = normal(4, 6, 8)
    coefficients = normal(5, 4, seed=1)
    index = torch.tensor([0, 2, 2, 1, 0])
    boxes = torch.tensor([[0.1, 0.1, 0.6, 0.8], [0.5, 0.2, 0.9, 0.5], [0.0, 0.3, 1.0, 1.0]], dtype=torch.float64)
    masks = random_masks(3, 12, 16)


def scene_loss(**options: object) -> torch.Tensor:
    return mask_loss(Scene.prototypes, Scene.coefficients, Scene.index, Scene.boxes, Scene.masks, **options)


def naive_mask_loss(ignored: np.ndarray) -> float:
    truths, total = halve(Scene.masks), 0.0
    for p, t in enumerate(Scene.index.tolist()):
        x1, y1, x2, y2 = (Scene.boxes[t] * torch.tensor([8, 6, 8, 6])).tolist()
        cost = 0.0
        for y, x in np.ndindex(6, 8):
            if x1 - 1 <= x < x2 + 1 and y1 - 1 <= y < y2 + 1 and not ignored[y, x]:
                logit = sum((Scene.coefficients[p, k] * Scene.prototypes[k, y, x]).item() for k in range(4))
                cost += bce(logit, truths[t, y, x])
        total += cost / ((x2 - x1) * (y2 - y1))
    return total


def test_mask_loss_against_loops() -> None:
    assert scene_loss().item() == pytest.approx(naive_mask_loss(np.zeros((6, 8), dtype=bool)))


def test_mask_loss_leaves_out_what_draws_on_ignored_pixels() -> None:
    ignore = torch.zeros(12, 16, dtype=torch.bool)
    ignore[3:8, 4:9] = True
    ignored = np.zeros((6, 8), dtype=bool)
    ignored[1:4, 2:5] = True  # the edge pixels are half ignored
    assert scene_loss(ignore=ignore).item() == pytest.approx(naive_mask_loss(ignored))
    assert scene_loss(ignore=ignore) < scene_loss()


def test_mask_loss_with_everything_ignored_is_a_zero_with_a_gradient() -> None:
    prototypes = Scene.prototypes.clone().requires_grad_()
    ignore = torch.ones(12, 16, dtype=torch.bool)
    loss = mask_loss(prototypes, Scene.coefficients, Scene.index, Scene.boxes, Scene.masks, ignore=ignore)
    loss.backward()
    assert loss == 0
    assert torch.equal(prototypes.grad, torch.zeros_like(prototypes))


def test_the_order_of_positives_does_not_matter() -> None:
    order = torch.tensor([4, 2, 0, 1, 3])
    shuffled = mask_loss(Scene.prototypes, Scene.coefficients[order], Scene.index[order], Scene.boxes, Scene.masks)
    torch.testing.assert_close(shuffled, scene_loss())


def test_a_mask_weighs_the_same_large_or_small() -> None:
    """With constant logits the loss of a mask is about that of one pixel, whatever the box."""
    small = torch.tensor([[0.25, 0.25, 0.5, 0.5]], dtype=torch.float64)
    losses = [
        mask_loss(
            torch.ones(1, 200, 200).double(), normal(1, 1), torch.tensor([0]), box, torch.ones(1, 200, 200).bool()
        )
        for box in (WHOLE, small)
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=0.1, atol=0)


def test_sampling_repeats_for_a_seed_and_differs_for_another() -> None:
    losses = [scene_loss(limit=2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1, 2, 3)]
    assert losses[0] == losses[1]
    assert len({loss.item() for loss in losses}) > 1


def test_sampling_is_scaled_back_to_all_positives() -> None:
    """Equal positives: any two of seven stand for all seven."""
    count = 7
    arguments = (
        Scene.prototypes,
        Scene.coefficients[:1].expand(count, -1),
        torch.zeros(count).long(),
        Scene.boxes,
        Scene.masks,
    )
    torch.testing.assert_close(mask_loss(*arguments, limit=2), mask_loss(*arguments, limit=count))


def test_no_sampling_up_to_the_limit() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert scene_loss(limit=5, generator=generator) == scene_loss()
    assert torch.equal(generator.get_state(), before)


def test_no_positive_is_a_zero_with_a_gradient() -> None:
    prototypes, coefficients = Scene.prototypes.clone().requires_grad_(), torch.zeros(0, 4).double().requires_grad_()
    none = torch.zeros(0).long()
    loss = mask_loss(prototypes, coefficients, none, Scene.boxes[:0], Scene.masks[:0])
    loss.backward()
    assert loss == 0
    assert torch.equal(prototypes.grad, torch.zeros_like(prototypes))


@pytest.mark.parametrize("side", [0.0, 1e-7, 0.01])
def test_a_tiny_truth_does_not_blow_up_with_a_smallest_side(side: float) -> None:
    box = torch.tensor([[0.5, 0.5, 0.5 + side, 0.5 + side]])
    prototypes = Scene.prototypes.float().requires_grad_()
    loss = mask_loss(prototypes, Scene.coefficients[:1].float(), torch.tensor([0]), box, Scene.masks[:1], min_side=1.0)
    loss.backward()
    assert 0 < loss < 9 * 10  # nine pixels of the widened box, none of them at more than ten
    assert prototypes.grad.isfinite().all()


def test_a_tiny_truth_is_divided_by_its_sides_as_they_are() -> None:
    """Of 0.2 by 0.3 prototype pixels: within the widened box are two by two, or three, pixels' centres."""
    box = torch.tensor([[0.5, 0.5, 0.5 + 0.2 / 8, 0.5 + 0.3 / 6]], dtype=torch.float64)
    arguments = (Scene.prototypes, Scene.coefficients[:1], torch.tensor([0]), box, Scene.masks[:1])
    torch.testing.assert_close(mask_loss(*arguments), mask_loss(*arguments, min_side=1.0) / (0.2 * 0.3))


@pytest.mark.parametrize(("width", "height"), [(0.0, 0.0), (0.0, 0.5), (1e-30, 1e-30), (1e-6, 1e-6)])
def test_a_truth_of_hardly_any_area_stays_finite(width: float, height: float) -> None:
    box = torch.tensor([[0.0, 0.0, width, height]])
    prototypes = Scene.prototypes.float().requires_grad_()
    loss = mask_loss(prototypes, Scene.coefficients[:1].float(), torch.tensor([0]), box, Scene.masks[:1])
    loss.backward()
    assert loss.isfinite()
    assert prototypes.grad.isfinite().all()
    assert (loss == 0) == (width * height < 1e-20)


def test_saturated_masks_keep_their_gradient_in_float32() -> None:
    coefficients = torch.tensor([[-200.0]], requires_grad=True)
    loss = mask_loss(
        torch.ones(1, 4, 4), coefficients, torch.tensor([0]), WHOLE.float(), torch.ones(1, 8, 8, dtype=torch.bool)
    )
    loss.backward()
    assert loss.item() == pytest.approx(200.0)
    assert coefficients.grad.item() == pytest.approx(-1.0)


def test_one_pixel() -> None:
    loss = mask_loss(
        torch.ones(1, 1, 1).double(), normal(1, 1), torch.tensor([0]), WHOLE, torch.ones(1, 1, 1, dtype=torch.bool)
    )
    assert loss.item() == pytest.approx(bce(normal(1, 1).item(), True))


def test_mask_loss_gradient() -> None:
    def loss(prototypes: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        return mask_loss(prototypes, coefficients, Scene.index, Scene.boxes, Scene.masks)

    inputs = (Scene.prototypes.clone().requires_grad_(), Scene.coefficients.clone().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


def naive_semantic_bce(logits: torch.Tensor, classes: list[int], ignored: np.ndarray) -> float:
    small, total = halve(Scene.masks), 0.0
    for c, y, x in np.ndindex(*logits.shape):
        if not ignored[y, x]:
            total += bce(logits[c, y, x].item(), any(small[i, y, x] for i, k in enumerate(classes) if k == c))
    return total / (6 * 8)


@pytest.mark.parametrize("with_ignore", [False, True])
def test_semantic_bce_against_loops(with_ignore: bool) -> None:
    logits, classes = normal(4, 6, 8), [2, 0, 2]
    ignored = np.zeros((6, 8), dtype=bool)
    ignored[:2] = with_ignore
    ignore = torch.from_numpy(ignored.repeat(2, 0).repeat(2, 1)) if with_ignore else None
    loss = semantic_bce(logits, Scene.masks, torch.tensor(classes), ignore=ignore)
    assert loss.item() == pytest.approx(naive_semantic_bce(logits, classes, ignored))


def test_a_mask_given_twice_counts_once() -> None:
    logits, classes, twice = normal(4, 6, 8), torch.tensor([2, 0, 2]), torch.tensor([0, 1, 2, 2])
    assert torch.equal(
        semantic_bce(logits, Scene.masks[twice], classes[twice]), semantic_bce(logits, Scene.masks, classes)
    )


def test_semantic_bce_of_an_empty_image_wants_no_class() -> None:
    logits = torch.full((2, 3, 3), 1.5, dtype=torch.float64)
    loss = semantic_bce(logits, torch.zeros(0, 6, 6, dtype=torch.bool), torch.zeros(0).long())
    assert loss.item() == pytest.approx(2 * bce(1.5, False))


def test_semantic_bce_with_everything_ignored_is_zero() -> None:
    ignore = torch.ones(12, 16, dtype=torch.bool)
    assert semantic_bce(normal(4, 6, 8), Scene.masks, torch.tensor([2, 0, 2]), ignore=ignore) == 0


def test_semantic_bce_gradient() -> None:
    classes = torch.tensor([2, 0, 2])
    logits = normal(3, 6, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: semantic_bce(x, Scene.masks, classes), logits, fast_mode=True)


LABELS = torch.tensor([[[0, 1, 2], [255, 3, 0]], [[1, 255, 255], [2, 2, 255]]], dtype=torch.uint8)


def test_semantic_cross_entropy_against_loops() -> None:
    logits, costs = normal(2, 4, 2, 3), []
    for b, y, x in np.ndindex(2, 2, 3):
        label = LABELS[b, y, x].item()
        if label != 255:
            values = logits[b, :, y, x].tolist()
            own = values[3] if label == 0 else values[label - 1]  # the background is the last map
            costs.append(math.log(sum(math.exp(v) for v in values)) - own)
    assert semantic_cross_entropy(logits, LABELS).item() == pytest.approx(sum(costs) / len(costs))


def test_semantic_cross_entropy_enlarges_the_logits() -> None:
    """The middle of three samples of a line of two lies half way between them."""
    logits = torch.tensor([[[[2.0, 4.0]], [[0.0, 0.0]]]])
    loss = semantic_cross_entropy(logits, torch.tensor([[[255, 1, 255]]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3.0)))


def test_mirroring_photo_and_labels_changes_nothing() -> None:
    logits = normal(2, 4, 5, 4)
    labels = torch.randint(0, 5, (2, 11, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        semantic_cross_entropy(logits.flip(3), labels.flip(2)), semantic_cross_entropy(logits, labels)
    )


def test_ignored_labels_leave_a_zero_with_a_gradient() -> None:
    logits = normal(2, 4, 2, 3).requires_grad_()
    loss = semantic_cross_entropy(logits, torch.full((2, 4, 6), 255, dtype=torch.uint8))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_semantic_cross_entropy_gradient() -> None:
    logits = normal(2, 4, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: semantic_cross_entropy(x, LABELS), logits)


def test_parts_of_a_batch_add_up_to_its_cross_entropy() -> None:
    logits = normal(2, 4, 2, 3)
    labels = torch.tensor([[[1, 255], [255, 255]], [[0, 2], [3, 255]]])
    parts = [semantic_cross_entropy(logits[i : i + 1], labels[i : i + 1], count=torch.tensor(2.0)) for i in (0, 1)]
    torch.testing.assert_close(torch.stack(parts).mean(), semantic_cross_entropy(logits, labels))
