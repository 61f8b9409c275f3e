from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from eps.losses.eps import EPSLoss, eps_loss, saliency_likelihood

GOLDEN = Path(__file__).parents[1] / "golden"
Array = NDArray[np.float64]


def naive(maps: Array, saliency: Array, labels: Array, tau: float, lam: float) -> tuple[float, Array, Array, Array]:
    """The equations, one photo and one class at a time; saliency at the maps' size."""
    batch, channels, height, width = maps.shape
    foreground, background = np.zeros((batch, 1, height, width)), np.zeros((batch, 1, height, width))
    for b in range(batch):
        exponent = np.exp(maps[b] - maps[b].max(axis=0))
        p = exponent / exponent.sum(axis=0)
        background[b, 0] = p[-1]
        for c in range(channels - 1):
            if not labels[b, c]:
                continue
            inside = sum(float(p[c, y, x] > 0.5 and saliency[b, 0, y, x] > 0.5) for y, x in np.ndindex(height, width))
            area = sum(float(p[c, y, x] > 0.5) + 1e-4 for y, x in np.ndindex(height, width))
            (foreground if inside / area > tau else background)[b, 0] += p[c]
    estimate = lam * foreground + (1 - lam) * (1 - background)
    return float(np.mean((saliency - estimate) ** 2)), foreground, 1 - background, estimate


def photos(batch: int = 3, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    maps = 3 * torch.randn(batch, classes + 1, 5, 6, dtype=torch.float64, generator=generator)
    saliency = torch.rand(batch, 1, 5, 6, dtype=torch.float64, generator=generator)
    labels = (torch.rand(batch, classes, generator=generator) > 0.4).double()
    return maps, saliency, labels


@pytest.mark.parametrize("number", range(4))
def test_recorded_vectors(number: int) -> None:
    with np.load(GOLDEN / f"eps_loss_{number}.npz") as record:
        maps = torch.from_numpy(record["cam"]).requires_grad_()
        saliency, labels = torch.from_numpy(record["saliency"]).float(), torch.from_numpy(record["label"])
        result = eps_loss(maps, saliency, labels, tau=record["tau"], lam=record["lam"])
        (gradient,) = torch.autograd.grad(result.loss, maps)
        assert result.loss.item() == pytest.approx(float(record["loss"]), rel=1e-5)
        for name in ("foreground", "background", "estimate"):
            part = getattr(result, name).detach().numpy()
            np.testing.assert_allclose(part, record[name], rtol=1e-5, atol=1e-6, err_msg=name)
        recorded = record["cam_grad"]
        np.testing.assert_allclose(gradient.numpy(), recorded, rtol=1e-5, atol=1e-5 * np.abs(recorded).max())


@pytest.mark.parametrize(("tau", "lam"), [(0.3, 0.5), (0.5, 0.9), (0.7, 0.2)])
def test_equals_the_equations(tau: float, lam: float) -> None:
    maps, saliency, labels = photos()
    result = eps_loss(maps, saliency, labels, tau=tau, lam=lam)
    loss, *parts = naive(maps.numpy(), saliency.numpy(), labels.numpy(), tau, lam)
    assert result.loss.item() == pytest.approx(loss, rel=1e-12)
    for part, expected in zip(result[1:], parts, strict=True):
        np.testing.assert_allclose(part.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_saliency_is_resized_by_the_nearest_pixel() -> None:
    maps, saliency, labels = photos()
    large = saliency.repeat_interleave(4, dim=2).repeat_interleave(3, dim=3)
    assert torch.equal(
        eps_loss(maps, large, labels, tau=0.4, lam=0.5).loss, eps_loss(maps, saliency, labels, tau=0.4, lam=0.5).loss
    )


def test_order_of_classes_is_free() -> None:
    maps, saliency, labels = photos()
    order = torch.tensor([2, 0, 3, 1])
    permuted = eps_loss(maps[:, [*order, 4]], saliency, labels[:, order], tau=0.4, lam=0.5)
    torch.testing.assert_close(permuted.estimate, eps_loss(maps, saliency, labels, tau=0.4, lam=0.5).estimate)


def test_batch_equals_singles() -> None:
    maps, saliency, labels = photos()
    whole = eps_loss(maps, saliency, labels, tau=0.4, lam=0.5)
    singles = [eps_loss(maps[i : i + 1], saliency[i : i + 1], labels[i : i + 1], tau=0.4, lam=0.5) for i in range(3)]
    torch.testing.assert_close(whole.loss, torch.stack([single.loss for single in singles]).mean())
    torch.testing.assert_close(whole.foreground, torch.cat([single.foreground for single in singles]))


def test_select_all_equals_no_threshold() -> None:
    maps, saliency, labels = photos()
    everything = eps_loss(maps, saliency, labels, tau=1.0, lam=0.5, select_all=True)
    torch.testing.assert_close(everything, eps_loss(maps, saliency, labels, tau=-1.0, lam=0.5))
    nothing = eps_loss(maps, saliency, labels, tau=1.0, lam=0.5)
    assert not nothing.foreground.any()
    # what moves from one side to the other is the same
    torch.testing.assert_close(everything.foreground, everything.background - nothing.background)


def test_overlap_must_exceed_tau_strictly() -> None:
    """A map of 1 of 2 pixels on saliency overlaps by 0.5, less the 1e-4 of the denominator."""
    maps = torch.tensor([20.0, -20.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 2).double()
    saliency = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).double()
    overlap = 1 / (2 * (1 + 1e-4))
    labels = torch.ones(1, 1)
    assert not eps_loss(maps, saliency, labels, tau=overlap + 1e-9, lam=0.5).foreground.any()
    assert eps_loss(maps, saliency, labels, tau=overlap - 1e-9, lam=0.5).foreground.all()


@pytest.mark.parametrize("select_all", [False, True])
def test_photo_without_tags(select_all: bool) -> None:
    maps, saliency, labels = photos()
    result = eps_loss(maps, saliency, torch.zeros_like(labels), tau=0.4, lam=0.5, select_all=select_all)
    assert not result.foreground.any()
    torch.testing.assert_close(result.background, 1 - maps.softmax(dim=1)[:, -1:])
    torch.testing.assert_close(result.estimate, 0.5 * result.background)


def test_one_pixel() -> None:
    result = eps_loss(
        torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, 1), torch.ones(1, 1, dtype=torch.bool), tau=0.4, lam=0.5
    )
    # both maps are 0.5, which rounds to 0, so the class explains the background
    assert result.loss.item() == pytest.approx(1.0)


def test_absent_classes_get_no_gradient_of_their_own() -> None:
    """Where a photo has no tag, absent maps matter through the softmax alone: all of them alike."""
    maps = torch.zeros(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    loss = eps_loss(maps, torch.ones(1, 1, 2, 2).double(), torch.zeros(1, 3), tau=0.4, lam=0.5).loss
    (gradient,) = torch.autograd.grad(loss, maps)
    torch.testing.assert_close(gradient[:, 0], gradient[:, 1])
    assert (gradient[:, -1] > 0).all()  # less background explains more saliency


def test_wrong_number_of_maps() -> None:
    with pytest.raises(ValueError, match="1 labels need 2 maps, not 5"):
        eps_loss(torch.zeros(1, 5, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1), tau=0.4, lam=0.5)


@pytest.mark.parametrize("select_all", [False, True])
def test_gradient(select_all: bool) -> None:
    maps, saliency, labels = photos(batch=2, classes=3)
    maps, saliency = maps[..., :2, :3].clone().requires_grad_(), saliency[..., :2, :3]

    def loss(maps: torch.Tensor) -> torch.Tensor:
        result: EPSLoss = eps_loss(maps, saliency, labels, tau=0.4, lam=0.5, select_all=select_all)
        return result.loss

    assert torch.autograd.gradcheck(loss, (maps,))


def naive_likelihood(maps: Array, saliency: Array, labels: Array) -> float:
    """The equation, one pixel at a time; saliency at the maps' size."""
    batch, channels, height, width = maps.shape
    total = 0.0
    for b, y, x in np.ndindex(batch, height, width):
        exponent = np.exp(maps[b, :, y, x] - maps[b, :, y, x].max())
        p = exponent / exponent.sum()
        present = sum(p[c] for c in range(channels - 1) if labels[b, c])
        s = saliency[b, 0, y, x]
        total -= (s * np.log(present) if labels[b].any() else 0.0) + (1 - s) * np.log(p[-1])
    return total / (batch * height * width)


def test_likelihood_equals_the_equation() -> None:
    maps, saliency, labels = photos(batch=4)
    labels[2] = 0  # a photo without any tag
    expected = naive_likelihood(maps.numpy(), saliency.numpy(), labels.numpy())
    assert saliency_likelihood(maps, saliency, labels).item() == pytest.approx(expected, rel=1e-12)


def test_likelihood_brings_maps_to_the_saliency_map() -> None:
    maps, _, labels = photos()
    large = torch.rand(3, 1, 11, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    resized = torch.nn.functional.interpolate(maps, size=(11, 17), mode="bilinear", align_corners=False)
    assert torch.equal(saliency_likelihood(maps, large, labels), saliency_likelihood(resized, large, labels))


def test_likelihood_of_a_batch_is_the_mean_of_singles() -> None:
    maps, saliency, labels = photos()
    labels[1] = 0
    singles = [saliency_likelihood(maps[i : i + 1], saliency[i : i + 1], labels[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(saliency_likelihood(maps, saliency, labels), torch.stack(singles).mean())


def test_likelihood_is_free_of_the_order_of_classes() -> None:
    maps, saliency, labels = photos()
    order = torch.tensor([2, 0, 3, 1])
    permuted = saliency_likelihood(maps[:, [*order, 4]], saliency, labels[:, order])
    torch.testing.assert_close(permuted, saliency_likelihood(maps, saliency, labels))


def test_likelihood_is_least_for_maps_that_explain_saliency() -> None:
    _, saliency, _ = photos(batch=1)
    salient = (saliency > 0.5).double()
    labels = torch.tensor([[1.0, 0.0]])
    right = 50 * torch.cat([salient, torch.zeros_like(salient), 1 - salient], dim=1)
    assert saliency_likelihood(right, salient, labels).item() == pytest.approx(0, abs=1e-9)
    wrong_class = right[:, [1, 0, 2]]
    assert saliency_likelihood(wrong_class, salient, labels).item() > 1


def test_likelihood_of_a_photo_without_tags() -> None:
    """Its salient pixels are nothing that is known; the others are background."""
    maps, saliency, labels = photos(batch=1)
    maps.requires_grad_()
    nothing = torch.zeros_like(labels)
    assert saliency_likelihood(maps, torch.ones_like(saliency), nothing).item() == 0
    (gradient,) = torch.autograd.grad(saliency_likelihood(maps, (saliency > 0.5).double(), nothing), maps)
    assert torch.isfinite(gradient).all()
    salient = (saliency > 0.5).expand_as(maps)
    assert not gradient[salient].any()
    assert (gradient[:, -1:][saliency <= 0.5] < 0).all()


def test_saturated_maps_still_learn() -> None:
    """Where the background has swallowed a salient object, squares of probabilities give no gradient any more."""
    maps = torch.tensor([-30.0, -30.0, 30.0]).double().view(1, 3, 1, 1).repeat(1, 1, 4, 4).requires_grad_()
    saliency, labels = torch.ones(1, 1, 4, 4).double(), torch.tensor([[1, 0]])
    (square,) = torch.autograd.grad(eps_loss(maps, saliency, labels, tau=0.4, lam=0.5, select_all=True).loss, maps)
    (likelihood,) = torch.autograd.grad(saliency_likelihood(maps, saliency, labels), maps)
    assert square.abs().max() < 1e-20
    assert (likelihood[:, 0] < -0.9 / 16).all()
    assert (likelihood[:, 2] > 0.9 / 16).all()


def test_absent_classes_are_held_down_everywhere() -> None:
    maps, saliency, labels = photos(batch=1)
    labels[:] = torch.tensor([1.0, 1, 0, 0])
    maps.requires_grad_()
    (gradient,) = torch.autograd.grad(saliency_likelihood(maps, saliency, labels), maps)
    assert (gradient[:, 2:4] > 0).all()


def test_likelihood_of_one_pixel_and_one_class() -> None:
    loss = saliency_likelihood(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1, 1), 0.25), torch.ones(1, 1))
    assert loss.item() == pytest.approx(np.log(2))


def test_likelihood_needs_as_many_maps() -> None:
    with pytest.raises(ValueError, match="1 labels need 2 maps, not 5"):
        saliency_likelihood(torch.zeros(1, 5, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1))


@pytest.mark.parametrize("tagged", [True, False])
def test_gradient_of_the_likelihood(tagged: bool) -> None:
    maps, saliency, labels = photos(batch=2, classes=3)
    maps, saliency = maps[..., :2, :3].clone().requires_grad_(), saliency[..., :3, :4]
    labels[0] = tagged
    assert torch.autograd.gradcheck(lambda m: saliency_likelihood(m, saliency, labels), (maps,))
