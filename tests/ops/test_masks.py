from pathlib import Path

import numpy as np
import pytest
import torch

from eps.ops.masks import crop, instance_masks, masked_share, pixel_boxes

GOLDEN = Path(__file__).parents[1] / "golden"


def random_boxes(count: int, seed: int = 0) -> torch.Tensor:
    points = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * 1.2 - 0.1
    return torch.cat([points.amin(1), points.amax(1)], dim=1)


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def naive_crop(masks: np.ndarray, boxes: np.ndarray, padding: float) -> np.ndarray:
    count, height, width = masks.shape
    out = np.zeros_like(masks)
    for n, y, x in np.ndindex(count, height, width):
        x1, y1, x2, y2 = boxes[n] * np.array([width, height, width, height], dtype=np.float32)
        if x1 - padding <= x < x2 + padding and y1 - padding <= y < y2 + padding:
            out[n, y, x] = masks[n, y, x]
    return out


def naive_enlarge(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with half-pixel centres, clamped at the border."""
    out = np.zeros(size)
    for y, x in np.ndindex(*size):
        v = np.clip((y + 0.5) * plane.shape[0] / size[0] - 0.5, 0, plane.shape[0] - 1)
        u = np.clip((x + 0.5) * plane.shape[1] / size[1] - 0.5, 0, plane.shape[1] - 1)
        top, left = int(v), int(u)
        bottom, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
        above = plane[top, left] * (1 - u + left) + plane[top, right] * (u - left)
        below = plane[bottom, left] * (1 - u + left) + plane[bottom, right] * (u - left)
        out[y, x] = above * (1 - v + top) + below * (v - top)
    return out


@pytest.mark.parametrize("padding", [0.0, 1.0, 2.5])
def test_crop_against_loops(padding: float) -> None:
    masks, boxes = random_maps(6, 9, 13), random_boxes(6)
    expected = naive_crop(masks.numpy(), boxes.numpy(), padding)
    assert np.array_equal(crop(masks, boxes, padding=padding).numpy(), expected)


def test_cropping_twice_is_cropping_once() -> None:
    masks, boxes = random_maps(6, 9, 13), random_boxes(6)
    once = crop(masks, boxes)
    assert torch.equal(crop(once, boxes), once)


def test_crop_by_hand() -> None:
    inside = crop(torch.ones(1, 8, 8), torch.tensor([[0.25, 0.5, 0.5, 0.75]]))[0]
    expected = torch.zeros(8, 8)
    expected[3:7, 1:5] = 1  # columns 2..4 and rows 4..6, one wider on each side, the end left out
    assert torch.equal(inside, expected)


@pytest.mark.parametrize("box", [[0.0, 0.0, 1.0, 1.0], [-1.0, -1.0, 2.0, 2.0]])
def test_a_box_over_the_whole_image_crops_nothing(box: list[float]) -> None:
    masks = random_maps(1, 5, 7)
    assert torch.equal(crop(masks, torch.tensor([box]), padding=0.0), masks)


def test_a_box_outside_the_image_leaves_nothing() -> None:
    assert crop(torch.ones(1, 5, 7), torch.tensor([[1.5, 1.5, 2.0, 2.0]])).sum() == 0


def test_crop_passes_the_gradient_inside_alone() -> None:
    masks, boxes = random_maps(2, 6, 6).requires_grad_(), random_boxes(2)
    crop(masks, boxes).sum().backward()
    assert torch.equal(masks.grad, crop(torch.ones(2, 6, 6), boxes))


@pytest.mark.parametrize("size", [(10, 14), (23, 11), (5, 7)])
def test_instance_masks_against_loops(size: tuple[int, int]) -> None:
    prototypes, coefficients, boxes = random_maps(4, 5, 7), random_maps(3, 4, seed=1), random_boxes(3, seed=5)
    planes = np.zeros((3, 5, 7))
    for n, y, x in np.ndindex(3, 5, 7):
        value = sum(coefficients[n, k].item() * prototypes[k, y, x].item() for k in range(4))
        planes[n, y, x] = 1 / (1 + np.exp(-value))
    planes = naive_crop(planes, boxes.numpy(), 1.0)
    expected = np.stack([naive_enlarge(plane, size) > 0.5 for plane in planes])
    assert 0 < expected.sum() < expected.size
    assert np.array_equal(instance_masks(prototypes, coefficients, boxes, size=size).numpy(), expected)


def test_instances_do_not_see_each_other() -> None:
    prototypes, coefficients, boxes = random_maps(4, 6, 8), random_maps(5, 4, seed=1), random_boxes(5)
    together = instance_masks(prototypes, coefficients, boxes, size=(17, 19))
    for i, alone in enumerate(together):
        row = slice(i, i + 1)
        assert torch.equal(instance_masks(prototypes, coefficients[row], boxes[row], size=(17, 19))[0], alone)


def test_no_detection_gives_no_mask() -> None:
    masks = instance_masks(random_maps(4, 5, 7), torch.zeros(0, 4), torch.zeros(0, 4), size=(10, 14))
    assert masks.shape == (0, 10, 14)
    assert masks.dtype == torch.bool


def test_one_pixel() -> None:
    box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    masks = instance_masks(torch.ones(1, 1, 1), torch.tensor([[1.0]]), box, size=(1, 1))
    assert masks.all()


def test_pixel_boxes_by_hand() -> None:
    boxes = torch.tensor([[-0.1, 0.25, 0.55, 1.2], [0.5, 0.5, 0.5, 0.5]])
    assert pixel_boxes(boxes, size=(10, 20)).tolist() == [[0, 2, 11, 10], [10, 5, 10, 5]]
    assert pixel_boxes(torch.zeros(0, 4), size=(10, 20)).shape == (0, 4)


def test_released_post_processing() -> None:
    golden = np.load(GOLDEN / "detect.npz")
    kept = golden["fast_score"] > golden["post_threshold"]
    boxes = torch.from_numpy(golden["fast_box"][kept])
    coefficients = torch.from_numpy(golden["fast_coefficients"][kept])
    prototypes = torch.from_numpy(golden["prototypes"]).permute(2, 0, 1)
    count, height, width = golden["post_shape"].tolist()
    bits = np.unpackbits(golden["post_mask"])[: count * height * width]

    masks = instance_masks(prototypes, coefficients, boxes, size=(height, width))

    assert np.array_equal(golden["fast_class"][kept], golden["post_class"])
    assert (masks.numpy() == bits.reshape(count, height, width)).mean() >= 0.999
    assert np.array_equal(pixel_boxes(boxes, size=(height, width)).numpy(), golden["post_box"])


def test_masked_share_counts_pixels() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((9, 13)) < 0.4
    for x1, y1, x2, y2 in ((0, 0, 13, 9), (2, 3, 5, 4), (12, 8, 13, 9), (0, 0, 1, 9)):
        box = torch.tensor([[x1 / 13, y1 / 9, x2 / 13, y2 / 9]])
        expected = mask[y1:y2, x1:x2].mean()
        assert masked_share(box, torch.from_numpy(mask)).item() == pytest.approx(expected)


def test_masked_share_of_odd_boxes() -> None:
    mask = torch.ones(4, 4, dtype=torch.bool)
    boxes = torch.tensor([[-1.0, -1.0, 2.0, 2.0], [0.5, 0.5, 0.5, 0.5]])
    assert masked_share(boxes, mask).tolist() == [1.0, 1.0]
    assert masked_share(boxes, ~mask).tolist() == [0.0, 0.0]
    assert masked_share(boxes[:0], mask).shape == (0,)
