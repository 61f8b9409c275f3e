"""The quick way to instance masks on a CPU against the plain one."""

import pytest
import torch
from torch.nn import functional as F

from eps.ops.mask_windows import enlargement, windowed_masks
from eps.ops.masks import instance_masks


def scene(
    height: int, width: int, *, count: int = 40, planes: int = 6, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 2, 2, generator=generator) * 1.4 - 0.2
    boxes = torch.cat([points.amin(1), points.amax(1)], dim=1)
    prototypes = torch.randn(planes, height, width, generator=generator)
    return prototypes, torch.randn(count, planes, generator=generator), boxes


def check(prototypes: torch.Tensor, coefficients: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> None:
    found = windowed_masks(prototypes, coefficients, boxes, size=size)
    expected = instance_masks(prototypes, coefficients, boxes, size=size)
    assert found.shape == expected.shape
    assert found.dtype == torch.bool
    assert 0.02 < expected.float().mean() < 0.98
    assert (found != expected).float().mean() <= 1e-4


@pytest.mark.parametrize("planes", [(13, 17), (1, 1), (1, 9), (34, 34)])
@pytest.mark.parametrize("size", [(13, 17), (41, 60), (120, 161), (7, 5), (1, 1)])
def test_against_the_plain_form(planes: tuple[int, int], size: tuple[int, int]) -> None:
    check(*scene(*planes), size)


@pytest.mark.parametrize("count", [1, 15, 16, 17])
def test_any_number_of_instances(count: int) -> None:
    prototypes, coefficients, boxes = scene(20, 24, count=count)
    boxes[0] = torch.tensor([0.1, 0.2, 0.9, 0.95])
    check(prototypes, coefficients, boxes, (45, 61))


def test_a_photo_of_yolacts_size() -> None:
    smooth = F.interpolate(torch.randn(1, 32, 17, 17, generator=torch.Generator().manual_seed(3)), size=(138, 138))[0]
    _, coefficients, boxes = scene(2, 2, count=30, planes=32)
    check(smooth, coefficients, boxes, (480, 640))


def test_nothing_to_make() -> None:
    prototypes, coefficients, boxes = scene(5, 7, count=0)
    assert windowed_masks(prototypes, coefficients, boxes, size=(10, 14)).shape == (0, 10, 14)


BOXES = {
    "outside": [1.5, 1.5, 2.0, 2.0],
    "outside on the left": [-2.0, 0.0, -1.0, 1.0],
    "without area": [0.5, 0.5, 0.5, 0.5],
    "turned around": [0.9, 0.9, 0.1, 0.1],
    "larger than the photo": [-1.0, -1.0, 2.0, 2.0],
    "endless": [-float("inf"), 0.2, float("inf"), 0.8],
    "not a number": [float("nan"), 0.0, 1.0, 1.0],
}


@pytest.mark.parametrize("name", BOXES)
def test_odd_boxes(name: str) -> None:
    boxes = torch.tensor([BOXES[name], [0.2, 0.2, 0.7, 0.9], BOXES[name]])
    prototypes, coefficients = torch.full((1, 12, 12), 3.0), torch.ones(3, 1)
    found = windowed_masks(prototypes, coefficients, boxes, size=(31, 37))
    assert torch.equal(found, instance_masks(prototypes, coefficients, boxes, size=(31, 37)))
    assert found[1].any()


def test_the_edge_of_the_box_is_enlarged_too() -> None:
    """Zero around the box, not cut at its edge.

    Inside (columns 3..7 of 8) the probability is 0.953, so it is one half at column 2.525, the photo's 29.75.
    """
    masks = windowed_masks(torch.full((1, 4, 8), 3.0), torch.ones(1, 1), torch.tensor([[0.5, 0, 1, 1]]), size=(4, 80))
    assert masks[0].nonzero()[:, 1].unique().tolist() == list(range(30, 80))


def test_one_half_is_not_a_mask() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert not windowed_masks(torch.zeros(2, 6, 6), torch.ones(1, 2), boxes, size=(23, 31)).any()


def test_half_precision_and_channels_last() -> None:
    prototypes, coefficients, boxes = scene(13, 17)
    last = prototypes[None].contiguous(memory_format=torch.channels_last)[0]
    check(last, coefficients, boxes, (41, 60))
    halves = (prototypes.bfloat16(), coefficients.bfloat16())
    expected = instance_masks(halves[0].float(), halves[1].float(), boxes, size=(41, 60))
    assert (windowed_masks(*halves, boxes, size=(41, 60)) != expected).float().mean() <= 1e-4


def test_weights_in_training_are_no_matter() -> None:
    prototypes, coefficients, boxes = scene(13, 17)
    found = windowed_masks(prototypes.requires_grad_(), coefficients.requires_grad_(), boxes, size=(41, 60))
    assert found.any()


@pytest.mark.parametrize(("planes", "pixels"), [(4, 9), (9, 4), (1, 5), (5, 1), (7, 7)])
def test_enlargement_is_torchs(planes: int, pixels: int) -> None:
    values = torch.randn(planes, generator=torch.Generator().manual_seed(0))
    axis = enlargement(planes, pixels)
    expected = F.interpolate(values[None, None], size=pixels, mode="linear", align_corners=False)[0, 0]
    torch.testing.assert_close(values[axis.before] * (1 - axis.weight) + values[axis.after] * axis.weight, expected)
