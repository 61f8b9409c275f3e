import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from eps.errors import UserError
from eps.ops.crf import dense_crf
from eps.ops.pseudo_labels import alpha_background

GOLDEN = Path(__file__).parents[1] / "golden"


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """A white square on black; the probabilities know it but for a frayed edge."""
    image = torch.zeros(20, 24, 3, dtype=torch.uint8)
    image[5:15, 6:16] = 255
    foreground = torch.full((20, 24), 0.2)
    foreground[5:15, 6:14] = 0.8
    return image, torch.stack([1 - foreground, foreground])


@pytest.mark.parametrize("alpha", [4, 16])
def test_recorded_vectors(alpha: int) -> None:
    with np.load(GOLDEN / f"crf_alpha_{alpha}.npz") as record:
        planes = alpha_background(torch.from_numpy(record["cams"]), alpha=float(record["alpha"]))
        scores = dense_crf(torch.from_numpy(record["image"]), planes, iterations=int(record["iterations"]))
        np.testing.assert_allclose(scores.numpy(), record["scores"], rtol=1e-4, atol=1e-5)


def naive(image: np.ndarray, probabilities: np.ndarray, compat: float, sxy: float, srgb: float) -> np.ndarray:
    """One mean-field step with the bilateral kernel alone, a full matrix, normalised symmetrically as pydensecrf's."""
    labels, height, width = probabilities.shape
    y, x = np.mgrid[:height, :width]
    features = np.concatenate([np.stack([x, y], -1) / sxy, image / srgb], axis=-1).reshape(height * width, 5)
    kernel = np.exp(-0.5 * ((features[:, None] - features[None]) ** 2).sum(-1))
    scale = 1 / np.sqrt(kernel.sum(axis=1))
    kernel = scale[:, None] * kernel * scale[None]
    unary = -np.log(probabilities.reshape(labels, -1))
    start = np.exp(-unary) / np.exp(-unary).sum(axis=0)
    energy = -unary + compat * start @ kernel
    return np.asarray(np.exp(energy) / np.exp(energy).sum(axis=0)).reshape(probabilities.shape)


def test_one_step_is_near_the_exact_kernel() -> None:
    """pydensecrf filters on a permutohedral lattice, which approximates the Gaussian kernel."""
    image, probabilities = scene()
    step = dense_crf(image, probabilities, iterations=1, gaussian_compat=0.0, bilateral_sxy=10.0, bilateral_compat=2.0)
    exact = naive(image.numpy().astype(float), probabilities.numpy().astype(float), 2.0, 10.0, 13.0)
    assert np.abs(step.numpy() - exact).max() < 0.015
    assert np.abs(step.numpy() - probabilities.numpy()).max() > 0.1


def test_labels_move_to_the_edge_of_the_photo() -> None:
    image, probabilities = scene()
    refined = dense_crf(image, probabilities)
    assert torch.equal(refined.argmax(dim=0) == 1, image[..., 0] > 0)
    torch.testing.assert_close(refined.sum(dim=0), torch.ones(20, 24))


def test_order_of_labels_is_free() -> None:
    image, probabilities = scene()
    torch.testing.assert_close(dense_crf(image, probabilities.flip(0)), dense_crf(image, probabilities).flip(0))


def test_arrays_in_arrays_out() -> None:
    image, probabilities = scene()
    frozen = image.numpy().copy()
    frozen.setflags(write=False)
    refined = dense_crf(frozen, probabilities.double().numpy())
    assert isinstance(refined, np.ndarray)
    assert refined.dtype == np.float32
    np.testing.assert_allclose(refined, dense_crf(image, probabilities).numpy(), atol=1e-6)


def test_memory_order_does_not_matter() -> None:
    image, probabilities = scene()
    turned = image.transpose(0, 1).contiguous().transpose(0, 1)
    planes = probabilities.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(dense_crf(turned, planes), dense_crf(image, probabilities))


def test_no_iteration_normalizes_the_clipped_probabilities() -> None:
    image = torch.zeros(1, 2, 3, dtype=torch.uint8)
    start = torch.tensor([[0.0, 0.5], [1.0, 0.25]]).view(2, 1, 2)
    expected = torch.tensor([[1e-5, 0.5], [1.0, 0.25]]).view(2, 1, 2)
    refined = dense_crf(image, start, iterations=0)
    torch.testing.assert_close(refined, expected / expected.sum(dim=0))


def test_one_label_has_every_pixel() -> None:
    image, probabilities = scene()
    torch.testing.assert_close(dense_crf(image, probabilities[:1]), torch.ones(1, 20, 24))


def test_no_label() -> None:
    image, probabilities = scene()
    assert dense_crf(image, probabilities[:0]).shape == (0, 20, 24)


def test_one_pixel() -> None:
    refined = dense_crf(torch.zeros(1, 1, 3, dtype=torch.uint8), torch.tensor([0.3, 0.7]).view(2, 1, 1))
    assert refined.argmax(dim=0).item() == 1


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(UserError, match="pip install pydensecrf2"):
        dense_crf(*scene())
