import math

import numpy as np
import pytest
import torch

from eps.losses.masks import mask_iou_loss

HEIGHT, WIDTH = 12, 16
CLASSES = torch.tensor([2, 0, 1])
INDEX = torch.tensor([0, 2, 2, 1, 0])
BOXES = torch.tensor([[0.1, 0.1, 0.8, 0.9], [0.5, 0.2, 0.7, 0.4], [0.0, 0.3, 1.0, 1.0]], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PROTOTYPES, COEFFICIENTS, MIXING = normal(4, HEIGHT, WIDTH), normal(5, 4, seed=1), normal(3, HEIGHT, WIDTH, seed=2) / 50


def boxed_masks() -> torch.Tensor:
    """Truths that fill their boxes, at twice the prototypes' size."""
    masks = torch.zeros(3, 2 * HEIGHT, 2 * WIDTH, dtype=torch.bool)
    edges = torch.tensor([2 * WIDTH, 2 * HEIGHT, 2 * WIDTH, 2 * HEIGHT])
    for mask, (x1, y1, x2, y2) in zip(masks, (BOXES * edges).long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def scorer(masks: torch.Tensor) -> torch.Tensor:
    """Something a class and pixel: which class is read, and that the crop comes first, both matter."""
    return torch.einsum("nhw,chw->nc", masks[:, 0], MIXING.to(masks))


def loss_of(**changes: object) -> torch.Tensor:
    arguments = {
        "prototypes": PROTOTYPES,
        "coefficients": COEFFICIENTS,
        "index": INDEX,
        "boxes": BOXES,
        "masks": boxed_masks(),
        "classes": CLASSES,
        "scorer": scorer,
    }
    return mask_iou_loss(**(arguments | changes))


def halved(masks: torch.Tensor) -> torch.Tensor:
    """Bilinear to half the size: every pixel is the mean of four."""
    return masks.double().unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4)) > 0.5


def naive(ignored: np.ndarray, *, min_area: int = 25) -> float:
    truths = halved(boxed_masks()).numpy() & ~ignored
    areas = halved(boxed_masks()).sum((1, 2))
    total = 0.0
    for p, t in enumerate(INDEX.tolist()):
        if areas[t] <= min_area:
            continue
        x1, y1, x2, y2 = (BOXES[t] * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).tolist()
        predicted, both, either = 0.0, 0, 0
        for y, x in np.ndindex(HEIGHT, WIDTH):
            value = 0.0
            if x1 - 1 <= x < x2 + 1 and y1 - 1 <= y < y2 + 1 and not ignored[y, x]:
                value = 1 / (1 + math.exp(-(COEFFICIENTS[p] @ PROTOTYPES[:, y, x]).item()))
            predicted += value * MIXING[CLASSES[t], y, x].item()
            both += value > 0.5 and truths[t, y, x]
            either += value > 0.5 or truths[t, y, x]
        error = abs(predicted - both / either)
        total += error**2 / 2 if error < 1 else error - 0.5
    return total


NOTHING = np.zeros((HEIGHT, WIDTH), dtype=bool)


def test_against_loops() -> None:
    assert loss_of().item() == pytest.approx(naive(NOTHING))
    assert loss_of(min_area=4).item() == pytest.approx(naive(NOTHING, min_area=4))
    assert naive(NOTHING) != naive(NOTHING, min_area=4)


def test_ignored_pixels_are_in_no_mask() -> None:
    ignore = torch.zeros(2 * HEIGHT, 2 * WIDTH, dtype=torch.bool)
    ignore[5:14, 9:20] = True
    ignored = NOTHING.copy()
    ignored[2:7, 4:10] = True  # the edge pixels are half ignored
    assert loss_of(ignore=ignore).item() == pytest.approx(naive(ignored))
    assert naive(ignored) != naive(NOTHING)


def test_a_scorer_that_is_right_costs_nothing() -> None:
    """Masks equal to their truths have an IoU of 1."""
    planes = halved(boxed_masks()).double() * 40 - 20
    coefficients = torch.eye(3, dtype=torch.float64)[INDEX]
    right = loss_of(prototypes=planes, coefficients=coefficients, scorer=lambda masks: masks.new_ones(len(masks), 3))
    assert right == 0


def test_the_order_of_positives_does_not_matter() -> None:
    order = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(loss_of(coefficients=COEFFICIENTS[order], index=INDEX[order]), loss_of())


def test_sampling_is_by_the_generator_and_scaled_back() -> None:
    losses = [loss_of(limit=2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1, 2, 3)]
    assert losses[0] == losses[1]
    assert len({loss.item() for loss in losses}) > 1
    equal = {"coefficients": COEFFICIENTS[:1].expand(7, -1), "index": torch.zeros(7).long()}
    torch.testing.assert_close(loss_of(**equal, limit=2), loss_of(**equal))


@pytest.mark.parametrize("index", [torch.zeros(0).long(), torch.tensor([1])], ids=["none", "too small"])
def test_no_mask_is_a_zero_with_a_gradient(index: torch.Tensor) -> None:
    prototypes = PROTOTYPES.clone().requires_grad_()
    loss = loss_of(prototypes=prototypes, coefficients=COEFFICIENTS[: len(index)], index=index)
    loss.backward()
    assert loss == 0
    assert prototypes.grad is not None
    assert not prototypes.grad.any()


def test_everything_ignored_is_finite() -> None:
    assert loss_of(ignore=torch.ones(2 * HEIGHT, 2 * WIDTH, dtype=torch.bool)).isfinite()


def test_gradient() -> None:
    leaves = (PROTOTYPES.clone().requires_grad_(), COEFFICIENTS.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda p, c: loss_of(prototypes=p, coefficients=c), leaves, fast_mode=True)
