import numpy as np
import pytest
import torch

from eps.ops.fusion import adjust_shares, fuse_saliency, saliency_trust, trusted_saliency


def maps_of(generator: torch.Generator, classes: int = 3, size: tuple[int, int] = (9, 12)) -> torch.Tensor:
    logits = 3 * torch.randn(classes + 1, *size, generator=generator)
    return logits.softmax(dim=0)[:classes]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def trust_of(foreground: np.ndarray, saliency: np.ndarray) -> float:
    if foreground.max() <= 0.1:
        return 1.0
    if foreground.std() == 0 or saliency.std() == 0:
        return 0.0
    return float(np.clip(np.corrcoef(foreground.ravel(), saliency.ravel())[0, 1], 0, 1))


def test_equals_a_loop(generator: torch.Generator) -> None:
    scores = maps_of(generator)
    saliency = (scores.sum(dim=0) + torch.randn(9, 12, generator=generator)).clamp(0, 1)
    p, s = scores.numpy().astype(np.float64), saliency.numpy().astype(np.float64)
    total = p.sum(axis=0)
    w = trust_of(total, s)
    assert 0.1 < w < 0.9
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
    right = torch.zeros(10, 10)
    right[2:6, 2:6] = 1
    assert saliency_trust(scores.sum(0), right) == pytest.approx(1)
    assert torch.allclose(fuse_saliency(scores, right)[1], right, atol=1e-6)
    larger = torch.zeros(10, 10)
    larger[1:7, 1:7] = 1
    assert 0.5 < saliency_trust(scores.sum(0), larger) < 0.7
    for wrong in (torch.zeros(10, 10), torch.ones(10, 10), 1 - right):
        assert saliency_trust(scores.sum(0), wrong) == 0
        assert torch.allclose(fuse_saliency(scores, wrong), scores)


def test_trust_of_a_batch_is_that_of_each(generator: torch.Generator) -> None:
    foreground, saliency = torch.rand(2, 3, 6, 7, generator=generator), torch.rand(2, 3, 6, 7, generator=generator)
    foreground[0, 1], saliency[1, 2] = 0.05, 1
    together = saliency_trust(foreground, saliency)
    for i in range(2):
        for j in range(3):
            assert torch.allclose(together[i, j], saliency_trust(foreground[i, j], saliency[i, j]), atol=1e-6)
    assert together[0, 1] == 1
    assert together[1, 2] == 0


def test_trusted_saliency_equals_a_loop(generator: torch.Generator) -> None:
    maps, saliency = 2 * torch.randn(4, 4, 5, 6, generator=generator), torch.rand(4, 1, 5, 6, generator=generator)
    labels = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]])
    e = maps.double().exp().numpy()
    for i, found in enumerate(trusted_saliency(maps, saliency, labels)[:, 0]):
        objects = sum(e[i, c] for c in range(3) if labels[i, c])
        foreground = objects / (objects + e[i, 3])
        s = saliency[i, 0].double().numpy()
        w = min(1.0, 2 * trust_of(foreground, s)) if labels[i].any() else 1.0
        assert np.allclose(found.numpy(), w * s + (1 - w) * foreground, atol=1e-5)


def test_trusted_saliency_keeps_what_agrees_and_replaces_what_does_not() -> None:
    maps = torch.zeros(2, 2, 8, 8, requires_grad=True)
    with torch.no_grad():
        maps[:, 0, 2:6, 2:6] = 9
        maps[:, 1] = 4
    right = torch.zeros(1, 1, 8, 8)
    right[..., 2:6, 2:6] = 1
    believed = trusted_saliency(maps, torch.cat([right, 1 - right]), torch.ones(2, 1))
    assert torch.allclose(believed[0], right[0])
    assert torch.allclose(believed[1], right[0], atol=0.02)
    assert not believed.requires_grad


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
    saliency = scores.sum(dim=0).sqrt()
    saliency[:4] = 0.5
    fused = fuse_saliency(scores, saliency)
    assert not fused[1].any()
    assert torch.equal(fused[0, :4], fused[2, :4])
    assert fused[0, :4].all()


def test_a_photo_without_tags_stays_empty() -> None:
    assert not fuse_saliency(torch.zeros(3, 4, 5), torch.ones(4, 5)).any()
    assert fuse_saliency(torch.zeros(0, 4, 5), torch.ones(4, 5)).shape == (0, 4, 5)
    assert torch.equal(
        trusted_saliency(torch.zeros(1, 3, 4, 5), torch.ones(1, 1, 4, 5), torch.zeros(1, 2)), torch.ones(1, 1, 4, 5)
    )


def test_maps_that_find_nothing_leave_it_to_saliency() -> None:
    scores = torch.full((1, 3, 3), 0.05)
    saliency = torch.eye(3)
    assert torch.equal(fuse_saliency(scores, saliency)[0], saliency)


def test_one_pixel_says_nothing_of_its_saliency() -> None:
    assert fuse_saliency(torch.full((1, 1, 1), 0.5), torch.ones(1, 1)).item() == pytest.approx(0.5)


def test_adjusted_shares_equal_a_loop(generator: torch.Generator) -> None:
    scores, frequency = maps_of(generator), torch.tensor([0.5, 0.125, 0.02])
    scores[2] = 0
    scores[:, 3, 4] = 0
    for strength in (0.5, 1.0):
        adjusted = adjust_shares(scores, frequency, strength=strength)
        for y in range(9):
            for x in range(12):
                p = scores[:, y, x].tolist()
                raised = [value / f**strength for value, f in zip(p, frequency.tolist(), strict=True)]
                expected = [sum(p) * value / max(sum(raised), 1e-30) for value in raised]
                assert adjusted[:, y, x].tolist() == pytest.approx(expected, abs=1e-6)


def test_adjusting_commutes_with_saliency_and_keeps_what_is_even(generator: torch.Generator) -> None:
    scores, saliency = maps_of(generator), torch.rand(9, 12, generator=generator)
    frequency = torch.tensor([0.5, 0.1, 0.0])
    first = fuse_saliency(adjust_shares(scores, frequency, strength=1.0), saliency)
    assert torch.allclose(first, adjust_shares(fuse_saliency(scores, saliency), frequency, strength=1.0), atol=1e-6)
    assert torch.allclose(adjust_shares(scores, torch.full((3,), 0.3), strength=2.0), scores)
    assert torch.allclose(adjust_shares(scores, frequency, strength=0.0), scores)
    assert adjust_shares(torch.zeros(0, 4, 5), torch.zeros(0), strength=1.0).shape == (0, 4, 5)
