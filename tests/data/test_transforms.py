from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from eps.data.transforms import RandomLongSide, seeded, training_transform

NO_JITTER = (0.0, 0.0, 0.0, 0.0)
MEAN = (0.5, 0.25, 1.0)


def augment(seed: int, *inputs: Tensor, **changes: Any) -> tuple[Tensor, ...]:
    settings: dict[str, Any] = {"crop": 32, "scale": (0.5, 2.0), "flip": 0.5, "jitter": NO_JITTER, "mean": MEAN}
    return seeded(training_transform(**settings | changes), seed, *inputs)


def scene(height: int, width: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """A photo that is white exactly where its mask is 1; the mask is a block that touches no edge's middle."""
    mask = torch.zeros(1, height, width, dtype=torch.uint8)
    mask[:, : height // 2, : width // 3] = 1
    return tv_tensors.Image(255 * mask.expand(3, -1, -1)), tv_tensors.Mask(mask)


@pytest.mark.parametrize(("height", "width"), [(65, 97), (97, 65), (40, 40), (1, 30)])
def test_long_side(height: int, width: int) -> None:
    sides = set()
    for seed in range(60):
        photo, mask = seeded(RandomLongSide(low=20, high=24), seed, *scene(height, width))
        assert photo.shape[1:] == mask.shape[1:]
        long, short = max(photo.shape[1:]), min(photo.shape[1:])
        assert short == max(1, round(long * min(height, width) / max(height, width)))
        assert (photo.shape[1] > photo.shape[2]) == (height > width)
        sides.add(long)
    assert sides == {20, 21, 22, 23, 24}


def test_masks_are_resized_by_the_nearest_pixel() -> None:
    labels = tv_tensors.Mask(torch.tensor([[[0, 7], [255, 3]]], dtype=torch.uint8))
    photo = tv_tensors.Image(torch.zeros(3, 2, 2, dtype=torch.uint8))
    _, resized = seeded(RandomLongSide(low=5, high=5), 0, photo, labels)
    assert set(resized.flatten().tolist()) == {0, 3, 7, 255}


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (65, 97), (20, 20), (300, 300)])
def test_always_the_crops_size(size: tuple[int, int]) -> None:
    for seed in range(5):
        photo, mask = augment(seed, *scene(*size))
        assert photo.shape == (3, 32, 32)
        assert mask.shape == (1, 32, 32)
        assert photo.dtype == mask.dtype == torch.uint8


@pytest.mark.parametrize("seed", range(8))
def test_photo_and_mask_move_together(seed: int) -> None:
    photo, mask = augment(seed, *scene(97, 65), mean=(0.0, 0.0, 0.0))
    apart = ((photo[0] > 127) != (mask[0] == 1)).float().mean()
    assert apart < 0.05  # along edges the photo is smooth


def test_padding_is_the_mean_colour_and_no_object() -> None:
    photo, mask = (torch.full((n, 10, 10), 9, dtype=torch.uint8) for n in (3, 1))
    made, labels = augment(0, tv_tensors.Image(photo), tv_tensors.Mask(mask), scale=(0.25, 0.25))
    outside = labels[0] == 0
    assert outside.sum() == 32 * 32 - 8 * 8
    assert set(labels.flatten().tolist()) == {0, 9}
    for plane, value in zip(made, (128, 64, 255), strict=True):
        assert (plane[outside] == value).all()
        assert (plane[~outside] == 9).all()


def test_padded_photo_stands_anywhere() -> None:
    places = {
        tuple(augment(seed, *scene(8, 8), scale=(0.25, 0.25), flip=0.0)[1][0].nonzero()[0].tolist())
        for seed in range(30)
    }
    assert len(places) > 15


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_flip(flip: float) -> None:
    photo, mask = scene(32, 32)
    made, labels = augment(0, photo, mask, scale=(1.0, 1.0), flip=flip)
    assert torch.equal(made, photo.flip(-1) if flip else photo)
    assert torch.equal(labels, mask.flip(-1) if flip else mask)


def test_half_are_flipped() -> None:
    flipped = sum(bool(augment(seed, *scene(32, 32), scale=(1.0, 1.0))[1][0, 0, -1]) for seed in range(100))
    assert 30 < flipped < 70


def test_jitter_changes_photos_alone() -> None:
    photo = tv_tensors.Image(torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8))
    mask = tv_tensors.Mask(torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8))
    made, labels = augment(0, photo, mask, scale=(1.0, 1.0), flip=0.0, jitter=(0.3, 0.3, 0.3, 0.05))
    assert not torch.equal(made, photo)
    assert torch.equal(labels, mask)
    assert torch.equal(augment(0, photo, mask, scale=(1.0, 1.0), flip=0.0)[0], photo)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_instance_masks(count: int) -> None:
    photo, mask = scene(65, 97)
    instances = tv_tensors.Mask(mask.bool().expand(count, -1, -1))
    _, labels, masks = augment(1, photo, mask, instances)
    assert masks.shape == (count, 32, 32)
    assert masks.dtype == torch.bool
    assert all(torch.equal(one, labels[0] == 1) for one in masks)


def test_seed_alone_decides() -> None:
    inputs = scene(65, 97)
    first = augment(5, *inputs)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    again = augment(5, *inputs)
    assert torch.equal(torch.get_rng_state(), state)  # chance goes on as if nothing had been drawn
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(augment(seed, *inputs)[0], first[0]) for seed in range(6, 9))
    assert all(type(output) is Tensor for output in first)


def test_large_seeds() -> None:
    augment((2**31 << 32) + 10**9, *scene(8, 8))
