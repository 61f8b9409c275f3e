from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from eps.data.transforms import (
    RandomLongSide,
    RandomScale,
    SampledCrop,
    seeded,
    semantic_transform,
    training_transform,
    yolact_transform,
)
from eps.nn.normalization import IMAGENET_MEAN, IMAGENET_STD, Normalization

NO_JITTER = (0.0, 0.0, 0.0, 0.0)
MEAN = (0.5, 0.25, 1.0)


def augment(seed: int, *inputs: Tensor, **changes: Any) -> tuple[Tensor, ...]:
    settings: dict[str, Any] = {"crop": 32, "long_side": (16, 64), "flip": 0.5, "jitter": NO_JITTER}
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
        assert photo.shape == (4, 32, 32)
        assert mask.shape == (1, 32, 32)
        assert photo.dtype == mask.dtype == torch.uint8


@pytest.mark.parametrize("seed", range(8))
def test_photo_and_mask_move_together(seed: int) -> None:
    photo, mask = augment(seed, *scene(97, 65))
    apart = ((photo[0] > 127) != (mask[0] == 1)).float().mean()
    assert apart < 0.05  # along edges the photo is smooth


def test_padding_is_transparent_and_no_object() -> None:
    photo, mask = (torch.full((n, 10, 10), 9, dtype=torch.uint8) for n in (3, 1))
    made, labels = augment(0, tv_tensors.Image(photo), tv_tensors.Mask(mask), long_side=(8, 8))
    outside = labels[0] == 0
    assert outside.sum() == 32 * 32 - 8 * 8
    assert set(labels.flatten().tolist()) == {0, 9}
    assert torch.equal(made[3] == 0, outside)
    assert set(made[3].flatten().tolist()) == {0, 255}
    assert (made[:3, ~outside] == 9).all()


@pytest.mark.parametrize(("crop", "low", "high"), [(448, 256, 512), (321, 256, 448)])
def test_the_papers_sizes(crop: int, low: int, high: int) -> None:
    """Of VOC and COCO: a photo as large as drawn, and around it what is zero once it is normalised."""
    normalize = Normalization(mean=torch.tensor(IMAGENET_MEAN), std=torch.tensor(IMAGENET_STD))
    photo = tv_tensors.Image(torch.full((3, 375, 500), 200, dtype=torch.uint8))
    longest = set()
    for seed in range(12):
        settings: dict[str, Any] = {"crop": crop, "long_side": (low, high), "jitter": NO_JITTER}
        made, _ = augment(seed, photo, tv_tensors.Mask(torch.ones(1, 375, 500, dtype=torch.uint8)), **settings)
        normalized = normalize(made[None])[0]
        inside = (normalized != 0).all(dim=0)
        width, height = int(inside.any(dim=0).sum()), int(inside.any(dim=1).sum())
        assert inside.sum() == width * height, "the photo is one block"
        assert (normalized[:, ~inside] == 0).all()
        assert width in range(min(low, crop), crop + 1)
        assert width == crop or abs(height - 0.75 * width) <= 1
        longest.add(width)
    assert len(longest) > 1


def test_padded_photo_stands_anywhere() -> None:
    places = {
        tuple(augment(seed, *scene(8, 8), long_side=(8, 8), flip=0.0)[1][0].nonzero()[0].tolist()) for seed in range(30)
    }
    assert len(places) > 15


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_flip(flip: float) -> None:
    photo, mask = scene(32, 32)
    made, labels = augment(0, photo, mask, long_side=(32, 32), flip=flip)
    assert torch.equal(made[:3], photo.flip(-1) if flip else photo)
    assert torch.equal(labels, mask.flip(-1) if flip else mask)


def test_half_are_flipped() -> None:
    flipped = sum(bool(augment(seed, *scene(32, 32), long_side=(32, 32))[1][0, 0, -1]) for seed in range(100))
    assert 30 < flipped < 70


def test_jitter_changes_photos_alone() -> None:
    photo = tv_tensors.Image(torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8))
    mask = tv_tensors.Mask(torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8))
    made, labels = augment(0, photo, mask, long_side=(32, 32), flip=0.0, jitter=(0.3, 0.3, 0.3, 0.05))
    assert (made[:3] != photo).float().mean() > 0.5
    assert (made[3] == 255).all()
    assert torch.equal(labels, mask)
    assert torch.equal(augment(0, photo, mask, long_side=(32, 32), flip=0.0)[0][:3], photo)


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


@pytest.mark.parametrize(("height", "width"), [(40, 80), (65, 97), (1, 1)])
def test_scales_are_of_the_photos_own_size(height: int, width: int) -> None:
    sides = []
    for seed in range(80):
        photo, mask = seeded(RandomScale(low=0.5, high=1.5), seed, *scene(height, width))
        assert photo.shape[1:] == mask.shape[1:]
        sides.append(photo.shape[2])
        scale = photo.shape[2] / width
        assert abs(photo.shape[1] - scale * height) <= max(1, 0.5 + 0.5 * height / width)
    assert min(sides) >= max(1, round(0.5 * width))
    assert max(sides) <= max(1, round(1.5 * width))
    if width > 1:
        assert min(sides) < 0.6 * width < 1.4 * width < max(sides)


def test_what_pads_a_label_map_is_ignored() -> None:
    """DeepLab learns nothing from where there is no photo."""
    transform = semantic_transform(crop=32, scale=(0.5, 0.5), flip=0.5, jitter=NO_JITTER)
    photo = tv_tensors.Image(torch.full((3, 20, 40), 51, dtype=torch.uint8))
    labels = tv_tensors.Mask(torch.full((1, 20, 40), 7, dtype=torch.uint8))
    for seed in range(8):
        made, found = seeded(transform, seed, photo, labels)
        inside = found[0] == 7
        assert made.shape == (4, 32, 32)
        assert inside.sum() == 10 * 20
        assert (found[0][~inside] == 255).all()
        assert (made[:3, inside] == 51).all()
        assert torch.equal(made[3] == 255, inside)


def boxes(*corners: tuple[float, float, float, float], size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    rows = torch.tensor(corners).reshape(-1, 4)
    return tv_tensors.BoundingBoxes(rows, format="XYXY", canvas_size=size)  # type: ignore[call-arg]


def yolact(seed: int, *inputs: Tensor, **changes: Any) -> tuple[Tensor, ...]:
    plain: dict[str, Any] = {"flip": 0.0, "jitter": NO_JITTER, "expand": 1.0, "overlap": False}
    return seeded(yolact_transform(**{"size": (24, 48), "mean": MEAN} | plain | changes), seed, *inputs)


def test_yolacts_photos_have_the_networks_size_whatever_their_shape() -> None:
    for seed in range(8):
        inputs = (*scene(30, 70), boxes((0, 0, 23, 15), size=(30, 70)))
        photo, mask, found = yolact(seed, *inputs, expand=4.0, flip=0.5, jitter=(0.125, 0.5, 0.5, 0.05))
        assert (photo.shape, mask.shape, found.shape) == ((3, 24, 48), (1, 24, 48), (1, 4))
        assert photo.dtype == torch.float32
        assert -1e-6 <= photo.min() <= photo.max() <= 1 + 1e-6


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_without_chance_yolacts_photo_is_only_resized(flip: float) -> None:
    photo, mask = scene(24, 48)
    whole = {"expand": 1.0, "flip": flip}
    seen = [yolact(seed, photo, mask, boxes(size=(24, 48)), **whole) for seed in range(3)]  # no objects: never cut
    for made, labels, _ in seen:
        assert torch.equal(made, (photo.flip(-1) if flip else photo) / 255)
        assert torch.equal(labels, mask.flip(-1) if flip else mask)


@pytest.mark.parametrize("antialias", [True, False])
def test_what_shrinks_is_smoothed_or_not(antialias: bool) -> None:
    """Columns of 0 and 1 in turn, four to one: not smoothed, a pixel between two of them is their mean."""
    stripes = torch.arange(48).remainder(2).mul(255).to(torch.uint8).expand(3, 24, 48).clone()
    stripes[..., :4] = torch.tensor([0, 255, 255, 0], dtype=torch.uint8)
    photo = tv_tensors.Image(stripes)
    label = tv_tensors.Mask(torch.zeros(1, 24, 48, dtype=torch.uint8))
    made, _, _ = yolact(0, photo, label, boxes(size=(24, 48)), size=(24, 12), antialias=antialias)
    assert torch.equal(made, yolact(0, photo, label, boxes(size=(24, 48)), size=(24, 12), antialias=antialias)[0])
    torch.testing.assert_close(made[..., 4:-4], torch.full_like(made[..., 4:-4], 0.5))
    assert (made[0, 0, 0] == 1) == (not antialias)


def test_half_the_photos_are_expanded_on_the_mean_colour() -> None:
    """To between 1 and 4 times their sides; the shares of the photo in what comes out are spread accordingly."""
    photo = tv_tensors.Image(torch.full((3, 40, 40), 51, dtype=torch.uint8))
    label = tv_tensors.Mask(torch.ones(1, 40, 40, dtype=torch.uint8))
    shares = []
    for seed in range(120):
        made, labels, _ = yolact(seed, photo, label, boxes(size=(40, 40)), expand=4.0, size=(80, 80))
        inside = labels[0] == 1
        shares.append(float(inside.float().mean()))
        if inside.all():
            continue
        core = torch.nn.functional.max_pool2d(inside[None].float(), 5, 1, 2)[0] == 0  # edges are blended
        for plane, value in zip(made, MEAN, strict=True):
            torch.testing.assert_close(plane[core], torch.full_like(plane[core], value))
    whole = sum(share == 1 for share in shares)
    assert 40 < whole < 80
    assert min(shares) < 0.09
    assert min(shares) >= 1 / 16 - 0.01


def crop(seed: int, corners: tuple[float, float, float, float], *, overlap: bool) -> tuple[Tensor, Tensor]:
    """Size of what is left of a photo of 100 x 100 with one object, and the object's box in it."""
    photo = tv_tensors.Image(torch.zeros(3, 100, 100, dtype=torch.uint8))
    made, found = seeded(SampledCrop(overlap=overlap), seed, photo, boxes(corners, size=(100, 100)))
    return torch.tensor(made.shape[1:]), found


@pytest.mark.parametrize("overlap", [False, True])
def test_sampled_crops_hold_an_objects_centre(overlap: bool) -> None:
    sizes = []
    for seed in range(150):
        size, box = crop(seed, (20, 30, 60, 80), overlap=overlap)
        sizes.append(size)
        if tuple(size.tolist()) == (100, 100):
            assert box.tolist() == [[20, 30, 60, 80]]
            continue
        assert (size >= 30).all()
        assert 0.5 <= size[0] / size[1] <= 2
        assert (box[:, 2:] > box[:, :2]).all(), "the only object is in the patch"
    whole = sum(tuple(size.tolist()) == (100, 100) for size in sizes)
    assert 10 < whole < 45, "one in six"


def test_the_overlap_of_crops_is_only_tested_where_asked_for() -> None:
    """An object of 6 x 6 covers at most 36 of 30 x 30 pixels: no patch reaches an IoU of 0.1."""
    small = (47.0, 47.0, 53.0, 53.0)
    free = [tuple(crop(seed, small, overlap=False)[0].tolist()) for seed in range(60)]
    strict = [tuple(crop(seed, small, overlap=True)[0].tolist()) for seed in range(60)]
    assert sum(size != (100, 100) for size in free) > 35
    assert 10 < sum(size != (100, 100) for size in strict) < 45, "only where any patch was drawn"


def test_objects_with_their_centre_outside_a_patch_are_marked() -> None:
    photo = tv_tensors.Image(torch.zeros(3, 100, 100, dtype=torch.uint8))
    corners = boxes((0, 0, 20, 20), (80, 80, 100, 100), size=(100, 100))
    marked = 0
    for seed in range(40):
        _, found = seeded(SampledCrop(overlap=False), seed, photo, corners)
        areas = (found[:, 2:] - found[:, :2]).prod(dim=1)
        marked += int((areas == 0).sum())
        assert (areas > 0).any()
    assert marked > 15


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (2, 2)])
def test_photos_of_a_few_pixels_are_not_cut(size: tuple[int, int]) -> None:
    for seed in range(10):
        photo, mask = scene(*size)
        made, labels, _ = yolact(seed, photo, mask, boxes((0, 0, 1, 1), size=size))
        assert made.shape == (3, 24, 48)
        assert labels.shape == (1, 24, 48)


def test_each_of_yolacts_colour_changes_happens_half_the_time() -> None:
    photo = tv_tensors.Image(torch.full((3, 24, 48), 100, dtype=torch.uint8))
    mask, none = tv_tensors.Mask(torch.zeros(1, 24, 48)), boxes(size=(24, 48))
    seen = [yolact(seed, photo, mask, none, jitter=(0.125, 0.0, 0.0, 0.0))[0].max().item() for seed in range(100)]
    same = sum(abs(value - 100 / 255) < 1e-6 for value in seen)
    assert 35 < same < 70
    assert all(100 * 0.875 - 1 <= 255 * value <= 100 * 1.125 + 1 for value in seen)
