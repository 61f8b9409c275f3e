import numpy as np
import pytest
import torch

from eps.ops.fusion import fuse_saliency, saliency_trust


def maps_of(generator: torch.Generator, classes: int = 3, size: tuple[int, int] = (9, 12)) -> torch.Tensor:
    logits = 3 * torch.randn(classes + 1, *size, generator=generator)
    return logits.softmax(dim=0)[:classes]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_equals_a_loop(generator: torch.Generator) -> None:
    scores, saliency = maps_of(generator), torch.rand(9, 12, generator=generator)
    p, s = scores.numpy().astype(np.float64), saliency.numpy().astype(np.float64)
    total = p.sum(axis=0)
    order = np.argsort(-total.ravel())[: round(0.1 * total.size)]
    sure = [s.ravel()[i] for i in order if total.ravel()[i] > 0.1]
    w = sum(sure) / len(sure)
    expected = np.empty_like(p)
    for c in range(3):
        for y in range(9):
            for x in range(12):
                expected[c, y, x] = p[c, y, x] / total[y, x] * (w * s[y, x] + (1 - w) * total[y, x])
    assert np.allclose(fuse_saliency(scores, saliency).numpy(), expected, atol=1e-6)


def test_a_map_that_misses_the_object_is_not_believed() -> None:
    """Blank and inverted saliency leave the maps as they are; saliency of the object replaces them."""
    scores = torch.zeros(2, 10, 10)
    scores[1, 2:6, 2:6] = 0.8
    scores[1, 6, 2:6] = 0.3
    right = torch.zeros(10, 10)
    right[1:7, 1:7] = 1
    assert saliency_trust(scores.sum(0), right) == 1
    assert torch.equal(fuse_saliency(scores, right)[1], right)
    for wrong in (torch.zeros(10, 10), 1 - right):
        assert saliency_trust(scores.sum(0), wrong) == 0
        assert torch.allclose(fuse_saliency(scores, wrong), scores)


def test_the_best_class_stays(generator: torch.Generator) -> None:
    scores, saliency = maps_of(generator), torch.rand(9, 12, generator=generator)
    fused = fuse_saliency(scores, saliency)
    assert torch.equal(fused.argmax(dim=0), scores.argmax(dim=0))
    assert fused.min() >= 0
    assert fused.sum(dim=0).max() <= 1 + 1e-6


def test_absent_classes_stay_absent(generator: torch.Generator) -> None:
    scores = maps_of(generator)
    scores[1] = 0
    scores[:, :4] = 0  # where nothing has a score, the present ones share
    fused = fuse_saliency(scores, torch.ones(9, 12))
    assert not fused[1].any()
    assert torch.equal(fused[0, :4], fused[2, :4])
    assert fused[0, :4].all()


def test_a_photo_without_tags_stays_empty() -> None:
    assert not fuse_saliency(torch.zeros(3, 4, 5), torch.ones(4, 5)).any()
    assert fuse_saliency(torch.zeros(0, 4, 5), torch.ones(4, 5)).shape == (0, 4, 5)


def test_maps_that_find_nothing_leave_it_to_saliency() -> None:
    scores = torch.full((1, 3, 3), 0.05)
    saliency = torch.eye(3)
    assert torch.equal(fuse_saliency(scores, saliency)[0], saliency)


def test_one_pixel() -> None:
    assert fuse_saliency(torch.full((1, 1, 1), 0.5), torch.ones(1, 1)).item() == pytest.approx(1)
