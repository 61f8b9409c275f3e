import numpy as np
import torch

from eps.ops.mean_field import CRFParameters, mean_field


def naive(image: np.ndarray, start: np.ndarray, parameters: CRFParameters) -> np.ndarray:
    """Equations 2 to 4 and algorithm 1 with full kernel matrices, normalised symmetrically."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    near = np.stack([x, y]) / parameters.gaussian_sxy
    alike = np.concatenate(
        [np.stack([x, y]) / parameters.bilateral_sxy, image.reshape(-1, 3).T / parameters.bilateral_srgb]
    )
    kernel = parameters.gaussian_compat * matrix(near) + parameters.bilateral_compat * matrix(alike)
    evidence = np.log(start.reshape(len(start), -1))
    marginals = softmax(evidence)
    for _ in range(parameters.iterations):
        marginals = softmax(evidence + marginals @ kernel)
    return marginals.reshape(start.shape)


def matrix(features: np.ndarray) -> np.ndarray:
    full = np.exp(-0.5 * np.square(features[:, :, None] - features[:, None]).sum(axis=0))
    return np.asarray(full / np.sqrt(full.sum(axis=0)) / np.sqrt(full.sum(axis=1))[:, None])


def softmax(energies: np.ndarray) -> np.ndarray:
    exponents = np.exp(energies - energies.max(axis=0))
    return np.asarray(exponents / exponents.sum(axis=0))


def photo_and_scores() -> tuple[torch.Tensor, torch.Tensor]:
    """Three stripes, known but for noise."""
    torch.manual_seed(0)
    image = (
        torch.tensor([30, 120, 220], dtype=torch.uint8).repeat_interleave(9).repeat(25, 1)[..., None].repeat(1, 1, 3)
    )
    scores = torch.rand(3, 25, 27)
    for stripe in range(3):
        scores[stripe, :, 9 * stripe : 9 * stripe + 9] += 0.3
    return image, scores / scores.sum(dim=0)


def test_is_near_the_exact_inference() -> None:
    image, scores = photo_and_scores()
    parameters = CRFParameters(5, 2.0, 1.0, 8.0, 20.0, 2.0)
    (found,) = mean_field([image], [scores], parameters)
    exact = naive(image.double().numpy(), scores.double().numpy(), parameters)
    assert (found.numpy().argmax(axis=0) == exact.argmax(axis=0)).mean() > 0.99
    assert np.abs(found.numpy() - exact).mean() < 0.01
    assert (scores.numpy().argmax(axis=0) == exact.argmax(axis=0)).mean() < 0.9


def test_marginals_sum_to_one_and_labels_may_change_places() -> None:
    image, scores = photo_and_scores()
    (found,) = mean_field([image], [scores], CRFParameters())
    (turned,) = mean_field([image], [scores.flip(0)], CRFParameters())
    torch.testing.assert_close(found.sum(dim=0), torch.ones(25, 27))
    torch.testing.assert_close(turned, found.flip(0))


def test_fewer_labels_beside_more_are_not_given_any() -> None:
    image, scores = photo_and_scores()
    found = mean_field([image, image[:5]], [scores, scores[:2, :5]], CRFParameters())
    assert [tuple(planes.shape) for planes in found] == [(3, 25, 27), (2, 5, 27)]
    torch.testing.assert_close(found[1].sum(dim=0), torch.ones(5, 27))


def test_without_kernels_evidence_decides() -> None:
    image, scores = photo_and_scores()
    (found,) = mean_field([image], [scores], CRFParameters(gaussian_compat=0.0, bilateral_compat=0.0))
    torch.testing.assert_close(found, scores)


def test_the_same_twice() -> None:
    image, scores = photo_and_scores()
    first, second = (mean_field([image], [scores], CRFParameters())[0] for _ in range(2))
    assert torch.equal(first, second)
