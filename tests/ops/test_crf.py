import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from eps.errors import UserError
from eps.ops.crf import dense_crf, dense_crfs
from eps.ops.mean_field import CRFParameters
from eps.ops.pseudo_labels import alpha_background

GOLDEN = Path(__file__).parents[1] / "golden"
BACKENDS = ["pydensecrf", "torch"]
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """A white square on black; the probabilities know it but for a frayed edge."""
    image = torch.zeros(20, 24, 3, dtype=torch.uint8)
    image[5:15, 6:16] = 255
    foreground = torch.full((20, 24), 0.2)
    foreground[5:15, 6:14] = 0.8
    return image, torch.stack([1 - foreground, foreground])


@each_backend
@pytest.mark.parametrize("alpha", [4, 16])
def test_recorded_vectors(alpha: int, backend: str) -> None:
    with np.load(GOLDEN / f"crf_alpha_{alpha}.npz") as record:
        planes = alpha_background(torch.from_numpy(record["cams"]), alpha=float(record["alpha"]))
        image, iterations = torch.from_numpy(record["image"]), int(record["iterations"])
        scores = dense_crf(image, planes, iterations=iterations, backend=backend)
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


@each_backend
def test_one_step_is_near_the_exact_kernel(backend: str) -> None:
    """Both filter on a permutohedral lattice, which approximates the Gaussian kernel."""
    image, probabilities = scene()
    parameters = CRFParameters(1, gaussian_compat=0.0, bilateral_sxy=10.0, bilateral_compat=2.0)
    (step,) = dense_crfs([image], [probabilities], parameters, backend=backend)
    exact = naive(image.numpy().astype(float), probabilities.numpy().astype(float), 2.0, 10.0, 13.0)
    assert np.abs(step.numpy() - exact).max() < 0.015
    assert np.abs(step.numpy() - probabilities.numpy()).max() > 0.1


@each_backend
def test_labels_move_to_the_edge_of_the_photo(backend: str) -> None:
    image, probabilities = scene()
    refined = dense_crf(image, probabilities, backend=backend)
    assert torch.equal(refined.argmax(dim=0) == 1, image[..., 0] > 0)
    torch.testing.assert_close(refined.sum(dim=0), torch.ones(20, 24))


@each_backend
def test_order_of_labels_is_free(backend: str) -> None:
    image, probabilities = scene()
    turned = dense_crf(image, probabilities.flip(0), backend=backend)
    torch.testing.assert_close(turned, dense_crf(image, probabilities, backend=backend).flip(0))


@each_backend
def test_arrays_in_arrays_out(backend: str) -> None:
    image, probabilities = scene()
    frozen = image.numpy().copy()
    frozen.setflags(write=False)
    refined = dense_crf(frozen, probabilities.double().numpy(), backend=backend)
    assert isinstance(refined, np.ndarray)
    assert refined.dtype == np.float32
    np.testing.assert_allclose(refined, dense_crf(image, probabilities, backend=backend).numpy(), atol=1e-6)


@each_backend
def test_memory_order_does_not_matter(backend: str) -> None:
    image, probabilities = scene()
    turned = image.transpose(0, 1).contiguous().transpose(0, 1)
    planes = probabilities.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(dense_crf(turned, planes, backend=backend), dense_crf(image, probabilities, backend=backend))


@each_backend
def test_no_iteration_normalizes_the_clipped_probabilities(backend: str) -> None:
    image = torch.zeros(1, 2, 3, dtype=torch.uint8)
    start = torch.tensor([[0.0, 0.5], [1.0, 0.25]]).view(2, 1, 2)
    expected = torch.tensor([[1e-5, 0.5], [1.0, 0.25]]).view(2, 1, 2)
    refined = dense_crf(image, start, iterations=0, backend=backend)
    torch.testing.assert_close(refined, expected / expected.sum(dim=0))


@each_backend
def test_one_label_has_every_pixel(backend: str) -> None:
    image, probabilities = scene()
    torch.testing.assert_close(dense_crf(image, probabilities[:1], backend=backend), torch.ones(1, 20, 24))


@each_backend
def test_no_label(backend: str) -> None:
    image, probabilities = scene()
    assert dense_crf(image, probabilities[:0], backend=backend).shape == (0, 20, 24)


@each_backend
def test_one_pixel(backend: str) -> None:
    image, start = torch.zeros(1, 1, 3, dtype=torch.uint8), torch.tensor([0.3, 0.7]).view(2, 1, 1)
    refined = dense_crf(image, start, backend=backend)
    assert refined.argmax(dim=0).item() == 1


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(UserError, match="pip install pydensecrf2"):
        dense_crf(*scene())


def test_unknown_backend() -> None:
    with pytest.raises(UserError, match="unknown CRF backend 'numpy': use 'pydensecrf' or 'torch'"):
        dense_crf(*scene(), backend="numpy")


def blocks(height: int, width: int, *, seed: int) -> np.ndarray:
    """A photo of patches of 8 x 8 pixels with a little noise."""
    generator = np.random.default_rng(seed)
    patches = generator.integers(20, 230, (-(-height // 8), -(-width // 8), 3))
    noise = generator.integers(-20, 20, (height, width, 3))
    return (np.kron(patches, np.ones((8, 8, 1)))[:height, :width] + noise).astype(np.uint8)


def shares(labels: int, height: int, width: int, *, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).dirichlet(np.ones(labels), (height, width))
    return noise.transpose(2, 0, 1).astype(np.float32)


@pytest.mark.parametrize("labels", [1, 2, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (13, 17), (40, 31), (33, 64)])
def test_backends_agree(size: tuple[int, int], labels: int) -> None:
    """Ten rounds amplify rounding at pixels that are undecided between labels, a few of thousands."""
    photo, start = blocks(*size, seed=1), shares(labels, *size, seed=2)
    reference, found = (dense_crf(photo, start, backend=backend) for backend in BACKENDS)
    assert (reference.argmax(axis=0) == found.argmax(axis=0)).mean() > 0.995
    assert np.abs(reference - found).mean() < 1e-4


@pytest.mark.parametrize("sxy", [0.5, 1.0, 2.0, 3.0, 4.0])
def test_backends_agree_where_pixels_lie_on_the_borders_of_simplices(sxy: float) -> None:
    """Which of two simplices a pixel belongs to makes no difference to it, but to which lattice points there are."""
    for level in (0, 128):
        photo, start = np.full((23, 31, 3), level, dtype=np.uint8), shares(3, 23, 31, seed=level)
        reference, found = (
            dense_crf(photo, start, gaussian_sxy=sxy, bilateral_sxy=10 * sxy, backend=backend) for backend in BACKENDS
        )
        np.testing.assert_allclose(found, reference, atol=1e-4)


def test_backends_agree_with_narrow_kernels() -> None:
    """DeepLab's number more lattice points than 32 bits have room for."""
    photo, start = blocks(40, 56, seed=3), shares(3, 40, 56, seed=4)
    deeplab = CRFParameters(10, 1.0, 3.0, 67.0, 3.0, 4.0)
    reference, found = (dense_crfs([photo], [start], deeplab, backend=backend)[0] for backend in BACKENDS)
    np.testing.assert_allclose(found, reference, atol=1e-3)


@each_backend
def test_several_photos_as_one_by_one(backend: str) -> None:
    """Of different sizes and numbers of labels, some with none, or without a pixel."""
    sizes = [(20, 24), (9, 31), (1, 1), (4, 4), (0, 3)]
    counts = [2, 5, 1, 0, 2]
    photos = [blocks(*size, seed=number) for number, size in enumerate(sizes)]
    starts = [shares(5, *size, seed=7)[:labels] for size, labels in zip(sizes, counts, strict=True)]
    together = dense_crfs(photos, starts, CRFParameters(), backend=backend)
    for photo, start, found in zip(photos, starts, together, strict=True):
        assert found.shape == start.shape
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, dense_crf(photo, start, backend=backend), atol=1e-5)


@each_backend
def test_scores_of_a_network_in_training(backend: str) -> None:
    image, probabilities = scene()
    refined = dense_crf(image, probabilities.half().float().requires_grad_(), backend=backend)
    assert not refined.requires_grad
    torch.testing.assert_close(dense_crf(image, probabilities.half(), backend=backend), refined)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_as_on_a_cpu() -> None:
    photos = [blocks(40, 31, seed=1), blocks(20, 50, seed=2)]
    starts = [
        torch.from_numpy(shares(labels, *photo.shape[:2], seed=3)) for photo, labels in zip(photos, (3, 2), strict=True)
    ]
    found = dense_crfs(photos, [start.cuda() for start in starts], CRFParameters(), backend="torch")
    expected = dense_crfs(photos, starts, CRFParameters(), backend="torch")
    for one, other in zip(found, expected, strict=True):
        assert one.is_cuda
        assert (one.cpu() - other).abs().mean() < 1e-4
