import numpy as np
import pytest
import torch

from eps.losses.classification import pooled_logits, tag_loss


def maps_and_saliency() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=generator)
    return maps, torch.rand(2, 1, 4, 5, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_weighted_average_equals_loops(floor: float) -> None:
    maps, saliency = maps_and_saliency()
    expected = np.zeros((2, 3))
    for b, c in np.ndindex(2, 3):
        weights = [float(saliency[b, 0, y, x]) + floor for y, x in np.ndindex(4, 5)]
        values = [float(maps[b, c, y, x]) for y, x in np.ndindex(4, 5)]
        expected[b, c] = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    np.testing.assert_allclose(pooled_logits(maps, saliency, floor=floor).numpy(), expected, rtol=1e-12)


def test_without_weights_it_is_the_mean() -> None:
    maps, _ = maps_and_saliency()
    np.testing.assert_allclose(pooled_logits(maps).numpy(), maps.numpy().mean(axis=(2, 3)), rtol=1e-12)


def test_scale_of_saliency_does_not_matter() -> None:
    maps, saliency = maps_and_saliency()
    torch.testing.assert_close(pooled_logits(maps, 0.01 * saliency), pooled_logits(maps, saliency))


def test_saliency_is_resized_by_the_nearest_pixel() -> None:
    maps, saliency = maps_and_saliency()
    large = saliency.repeat_interleave(2, dim=2).repeat_interleave(3, dim=3)
    assert torch.equal(pooled_logits(maps, large), pooled_logits(maps, saliency))


def test_blank_saliency_gives_the_plain_average() -> None:
    maps, saliency = maps_and_saliency()
    saliency[1] = 0
    logits = pooled_logits(maps.requires_grad_(), saliency)
    torch.testing.assert_close(logits[1], maps[1].mean(dim=(1, 2)))
    assert not torch.allclose(logits[0], maps[0].mean(dim=(1, 2)))
    (gradient,) = torch.autograd.grad(logits.sum(), maps)
    assert gradient.isfinite().all()


def test_one_salient_pixel_decides_alone() -> None:
    maps, _ = maps_and_saliency()
    saliency = torch.zeros(2, 1, 4, 5)
    saliency[:, :, 1, 2] = 1
    torch.testing.assert_close(pooled_logits(maps, saliency.double()), maps[:, :, 1, 2])


def test_pooling_gradient() -> None:
    maps, saliency = maps_and_saliency()
    assert torch.autograd.gradcheck(lambda maps: pooled_logits(maps, saliency, floor=0.1), (maps.requires_grad_(),))


def test_tag_loss_equals_the_equation() -> None:
    logits, labels = np.array([[1.5, -2.0, 0.3], [0.0, 4.0, -1.0]]), np.array([[1, 0, 1], [0, 0, 1]])
    expected = 0.0
    for b, c in np.ndindex(2, 3):
        sigmoid = 1 / (1 + np.exp(-logits[b, c]))
        expected -= np.log(sigmoid if labels[b, c] else 1 - sigmoid) / 6
    assert tag_loss(torch.tensor(logits), torch.tensor(labels)).item() == pytest.approx(expected, rel=1e-12)


def test_tag_loss_takes_any_type_of_labels() -> None:
    logits, labels = torch.tensor([[2.0, -1.0]]), torch.tensor([[True, False]])
    assert torch.equal(tag_loss(logits, labels), tag_loss(logits, labels.float()))


def test_tag_loss_gradient() -> None:
    logits = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([[1, 0, 1], [0, 0, 0]])
    assert torch.autograd.gradcheck(lambda logits: tag_loss(logits, labels), (logits,))
