from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from eps.engine.inference import (
    as_tensor,
    detections_of,
    instances_of,
    localize,
    localize_together,
    semantic_labels,
    semantic_probabilities,
)
from eps.engine.instances import Instances, no_instances
from eps.models.segmenter import SegmenterOutput
from eps.ops.boxes import decode, encode
from eps.ops.nms import Detections

GOLDEN = Path(__file__).parents[1] / "golden"
CLASSES = 3


class Blurred:
    """A localizer whose maps are a quarter of the photo's size, and not symmetric."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def normalize(self, photos: Tensor) -> Tensor:
        return photos - 0.5

    def localization(self, images: Tensor, *, size: tuple[int, int], classes: Sequence[int]) -> Tensor:
        self.sizes.append(tuple(images.shape))
        maps = self.maps(images)[:, list(classes)]
        return torch.nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)

    def maps(self, images: Tensor) -> Tensor:
        pooled = torch.nn.functional.adaptive_avg_pool2d(images, [max(1, side // 4) for side in images.shape[-2:]])
        ramp = torch.linspace(0.5, 1, pooled.shape[-1])
        return (pooled + 0.6) * ramp


def picture(width: int = 23, height: int = 17, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def naive(image: Image.Image, labels: list[int], scales: list[float], flip: bool) -> np.ndarray:
    """Scale by scale, class by class, with Pillow and numpy; only the enlargement of the maps is torch's."""
    model = Blurred()
    total = np.zeros((CLASSES, image.height, image.width))
    for scale in scales:
        scaled = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        for mirrored in [False, True] if flip else [False]:
            pixels = np.asarray(scaled, dtype=np.float32)
            pixels = pixels[:, ::-1] if mirrored else pixels
            planes = torch.from_numpy((pixels / 255 - 0.5).transpose(2, 0, 1).copy())
            maps = model.maps(planes[None])
            size = [image.height, image.width]
            maps = torch.nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
            total += maps[0].numpy()[:, :, ::-1] if mirrored else maps[0].numpy()
    for c in range(CLASSES):
        total[c] = total[c] / (total[c].max() + 1e-5) if labels[c] else 0
    return total


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [[1.0], [0.5, 1.0, 1.5, 2.0]])
def test_localize_equals_loops(flip: bool, scales: list[float]) -> None:
    made = localize(Blurred(), picture(), torch.tensor([1, 0, 1]), scales=scales, flip=flip)
    np.testing.assert_allclose(made.numpy(), naive(picture(), [1, 0, 1], scales, flip), atol=1e-5)
    assert made[0].max() > 0.99
    assert not made[1].any()


def test_sizes_are_rounded() -> None:
    model = Blurred()
    localize(model, picture(23, 17), torch.ones(CLASSES), scales=[0.5, 1.0, 1.5], flip=True)
    assert model.sizes == [(2, 3, 8, 12), (2, 3, 17, 23), (2, 3, 26, 34)]  # Python rounds halves to even


def test_flipping_the_photo_flips_the_maps() -> None:
    mirrored = picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    settings: dict[str, Any] = {"scales": [0.5, 1.0], "flip": True}
    straight = localize(Blurred(), picture(), torch.ones(CLASSES), **settings)
    torch.testing.assert_close(localize(Blurred(), mirrored, torch.ones(CLASSES), **settings).flip(-1), straight)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (97, 65)])
def test_any_size(size: tuple[int, int]) -> None:
    made = localize(Blurred(), picture(*size), torch.tensor([True, False, True]), scales=[0.1, 1.0], flip=True)
    assert made.shape == (CLASSES, size[1], size[0])
    assert ((made >= 0) & (made <= 1)).all()


def test_no_tag_at_all() -> None:
    assert not localize(Blurred(), picture(), torch.zeros(CLASSES), scales=[1.0], flip=True).any()


def test_no_tag_asks_no_network() -> None:
    model = Blurred()
    localize(model, picture(), torch.zeros(CLASSES), scales=[1.0], flip=True)
    assert not model.sizes


@pytest.mark.parametrize("flip", [False, True])
def test_photos_together_are_what_they_are_alone(flip: bool) -> None:
    model, photos = Blurred(), [picture(seed=seed) for seed in range(3)]
    labels = [torch.tensor(tags) for tags in ([1, 0, 0], [0, 0, 0], [1, 0, 1])]
    settings: dict[str, Any] = {"scales": [0.5, 1.0], "flip": flip}
    together = localize_together(model, photos, labels, device=torch.device("cpu"), **settings)
    assert [sizes[0] for sizes in model.sizes] == [6 if flip else 3] * 2
    for photo, tags, made in zip(photos, labels, together, strict=True):
        torch.testing.assert_close(made, localize(Blurred(), photo, tags, **settings))
        assert (made.flatten(1).any(dim=1) == tags.bool()).all()


def test_array_equals_picture() -> None:
    backwards = np.asarray(picture())[::-1, ::-1]
    expected = localize(Blurred(), Image.fromarray(backwards.copy()), torch.ones(CLASSES), scales=[1.5], flip=True)
    assert torch.equal(localize(Blurred(), backwards, torch.ones(CLASSES), scales=[1.5], flip=True), expected)


def test_labels_may_be_an_array() -> None:
    labels = np.array([1.0] + [0.0] * (CLASSES - 1))
    expected = localize(Blurred(), picture(), torch.from_numpy(labels), scales=[1.0], flip=False)
    assert torch.equal(localize(Blurred(), picture(), labels, scales=[1.0], flip=False), expected)


def test_other_colour_modes_are_read_as_rgb() -> None:
    grey = picture().convert("L")
    expected = localize(Blurred(), grey.convert("RGB"), torch.ones(CLASSES), scales=[1.0], flip=False)
    assert torch.equal(localize(Blurred(), grey, torch.ones(CLASSES), scales=[1.0], flip=False), expected)
    assert as_tensor(picture().convert("RGBA")).shape == (3, 17, 23)


def test_a_scale_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one scale"):
        localize(Blurred(), picture(), torch.ones(CLASSES), scales=[], flip=False)


def test_pixels_are_scaled_to_one() -> None:
    values = as_tensor(Image.fromarray(np.array([[[0, 51, 255]]], dtype=np.uint8)))
    torch.testing.assert_close(values, torch.tensor([0, 0.2, 1]).view(3, 1, 1))


ANCHORS = torch.tensor([[0.25, 0.25, 0.3, 0.3], [0.7, 0.6, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]])


def raw(boxes: Tensor, logits: Tensor, *, photos: int = 2) -> SegmenterOutput:
    """A batch whose last photo has these boxes (relative corners); its two planes are the left and the right half."""
    planes = torch.full((photos, 2, 8, 12), -10.0)
    planes[:, 0, :, :6], planes[:, 1, :, 6:] = 10.0, 10.0
    offsets = torch.zeros(photos, 3, 4)
    offsets[-1] = encode(boxes, ANCHORS)
    scores = torch.zeros(photos, 3, 3)
    scores[:, :, 0] = 9.0
    scores[-1] = logits
    coefficients = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).expand(photos, 3, 2)
    return SegmenterOutput(offsets, scores, coefficients, planes, torch.zeros(photos, 3, 8, 12), ANCHORS)


def found_in(output: SegmenterOutput, index: int, *, size: tuple[int, int] = (16, 24)) -> Instances:
    found = detections_of(output, score_threshold=0.05, iou_threshold=0.5, max_detections=100)[index]
    return instances_of(found, output.prototypes[index], size=size)


def test_instances() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.4, 0.25, 1.2, 1.0], [0.1, 0.1, 0.9, 0.9]])
    logits = torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 6.0], [9.0, 0.0, 0.0]])
    found = found_in(raw(boxes, logits), 1)
    torch.testing.assert_close(found.scores[:2], logits.softmax(dim=-1)[[1, 0], [2, 1]])
    assert found.classes[:2].tolist() == [1, 0]  # from 0, best first
    torch.testing.assert_close(found.boxes[0], torch.tensor([0.4 * 24, 4, 24, 16]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.boxes[1], torch.tensor([0.0, 0, 12, 8]), atol=1e-4, rtol=1e-4)
    assert found.masks.shape[1:] == (16, 24)
    assert found.masks[0, 8:14, 14:].all()  # the right half, within the box
    assert not found.masks[0, :, :11].any()
    assert found.masks[1, :8, :11].all()
    assert not found.masks[1, 12:].any()


def test_scores_leave_the_background_out() -> None:
    boxes = decode(torch.zeros(3, 4), ANCHORS)
    low = torch.tensor([8.0, 1.0, 2.0]).expand(3, 3)
    assert len(found_in(raw(boxes, low), 1).scores) == 0


def test_nothing_found() -> None:
    found = found_in(raw(decode(torch.zeros(3, 4), ANCHORS), torch.tensor([9.0, 0, 0]).expand(3, 3)), 0, size=(5, 7))
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, 5, 7)
    assert found.classes.shape == found.scores.shape == (0,)


def test_each_photo_of_a_batch_is_its_own() -> None:
    output = raw(decode(torch.zeros(3, 4), ANCHORS), torch.tensor([0.0, 4.0, 0.0]).expand(3, 3))
    assert len(found_in(output, 0).scores) == 0
    assert found_in(output, 1).classes.tolist() == [0, 0, 0, 1, 1, 1]


def test_classes_suppress_each_other_where_asked() -> None:
    output = raw(decode(torch.zeros(3, 4), ANCHORS), torch.tensor([0.0, 4.0, 0.0]).expand(3, 3))
    limits = {"score_threshold": 0.0, "iou_threshold": 0.5}
    found = detections_of(output, **limits, max_detections=100, cross_class=True)[1]
    assert found.classes.tolist() == [0, 0, 0]  # each anchor by its best class alone
    assert len(detections_of(output, **limits, max_detections=2, cross_class=True)[1].scores) == 2


def test_mask_scores_are_scores_times_the_rated_iou() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.4, 0.25, 1.2, 1.0], [0.1, 0.1, 0.9, 0.9]])
    output = raw(boxes, torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 6.0], [9.0, 0.0, 0.0]]))
    seen: list[Tensor] = []

    def scorer(masks: Tensor) -> Tensor:
        seen.append(masks)
        return torch.arange(2.0 * len(masks)).reshape(-1, 2) / 10

    best = detections_of(output, score_threshold=0.05, iou_threshold=0.5, max_detections=2)[1]
    found = instances_of(best, output.prototypes[1], size=(16, 24), mask_scorer=scorer)
    plain = found_in(output, 1)
    assert torch.equal(plain.mask_scores, plain.scores)
    assert torch.equal(found.scores, plain.scores[:2])
    assert found.classes.tolist() == [1, 0]
    torch.testing.assert_close(found.mask_scores, found.scores * torch.tensor([0.1, 0.2]))
    [masks] = seen
    assert masks.shape == (2, 1, 8, 12)  # at the prototypes' resolution
    assert not masks[1, 0, 6:].any()  # cut to the box
    assert (masks[1, 0, :4, :5] > 0.9).all()


def test_boxes_in_whole_pixels_are_the_released_ones() -> None:
    """From the recorded detections on, by what a `Predictor` calls; masks stay those of the exact boxes."""
    golden = np.load(GOLDEN / "detect.npz")
    kept = golden["fast_score"] > golden["post_threshold"]
    names = ("box", "score", "class", "coefficients")
    found = Detections(*(torch.from_numpy(golden[f"fast_{name}"][kept]) for name in names))
    prototypes = torch.from_numpy(golden["prototypes"]).permute(2, 0, 1)
    _, height, width = golden["post_shape"].tolist()
    exact = instances_of(found, prototypes, size=(height, width))
    whole = instances_of(found, prototypes, size=(height, width), whole_pixels=True)
    assert np.array_equal(whole.boxes.numpy(), golden["post_box"])
    assert not torch.equal(exact.boxes, whole.boxes)
    assert torch.equal(exact.boxes.floor(), whole.boxes)
    assert torch.equal(exact.masks, whole.masks)


def test_semantic_labels_count_from_the_background() -> None:
    """The background is the last map and label 0."""
    maps = torch.tensor([[5.0, 0, 0, 1], [0, 5, 0, 0], [0, 0, 5, 2]]).view(1, 3, 1, 4).repeat(2, 1, 1, 1)
    maps[0] = 0
    output = raw(decode(torch.zeros(3, 4), ANCHORS), torch.zeros(3, 3))._replace(semantic=maps)
    labels = semantic_labels(output, 1, size=(1, 4))
    assert labels.tolist() == [[1, 2, 0, 0]]
    assert labels.dtype == torch.uint8


def test_semantic_labels_are_of_enlarged_scores() -> None:
    """Labels are chosen after the enlargement, so that edges lie between pixels."""
    maps = torch.tensor([[3.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    output = raw(decode(torch.zeros(3, 4), ANCHORS), torch.zeros(3, 3), photos=1)._replace(semantic=maps)
    assert semantic_labels(output, 0, size=(2, 8)).tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]] * 2


def test_probabilities_put_the_background_first() -> None:
    maps = torch.tensor([[5.0, 0, 0, 1], [0, 5, 0, 0], [0, 0, 5, 2]]).view(1, 3, 1, 4)
    found = semantic_probabilities(maps, size=(1, 4))[0, :, 0]
    torch.testing.assert_close(found[0], maps[0, :, 0].softmax(dim=0)[2])
    torch.testing.assert_close(found[1:], maps[0, :, 0].softmax(dim=0)[:2])
    assert found.argmax(dim=0).tolist() == [1, 2, 0, 0]


def test_probabilities_are_of_enlarged_scores() -> None:
    """As in `semantic_labels`, so that the likeliest label is the label."""
    maps = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    found = semantic_probabilities(maps, size=(7, 12))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 7, 12))
    output = raw(decode(torch.zeros(3, 4), ANCHORS), torch.zeros(3, 3))._replace(semantic=maps)
    assert torch.equal(found[1].argmax(dim=0).to(torch.uint8), semantic_labels(output, 1, size=(7, 12)))


def test_no_instances_are_instances_of_none() -> None:
    none = no_instances(size=(5, 7), device=torch.device("cpu"))
    found = found_in(raw(decode(torch.zeros(3, 4), ANCHORS), torch.tensor([9.0, 0, 0]).expand(3, 3)), 0, size=(5, 7))
    for ours, theirs in zip(none, found, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("cross_class", [False, True])
@pytest.mark.parametrize("classes", [None, [1]])
def test_a_gpu_detects_the_same(cross_class: bool, classes: list[int] | None) -> None:
    output = raw(decode(torch.zeros(3, 4), ANCHORS), torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 6.0], [9.0, 0.0, 0.0]]))
    limits = {"score_threshold": 0.05, "iou_threshold": 0.5, "max_detections": 4, "least_score": 0.01}
    expected = detections_of(output, **limits, cross_class=cross_class, classes=classes)
    found = detections_of(
        SegmenterOutput(*(t.cuda() for t in output)), **limits, cross_class=cross_class, classes=classes
    )
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one.cpu(), other)
