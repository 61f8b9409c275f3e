from itertools import product

import numpy as np
import pytest
import torch

from eps.errors import UserError
from eps.ops.permutohedral import Lattice, gaussian_filter, lattice_of, normalized


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def one_group(features: torch.Tensor) -> torch.Tensor:
    return torch.zeros(features.shape[1], dtype=torch.long)


def filtered(features: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return gaussian_filter(lattice_of(features, one_group(features)), values)


def points(lattice: Lattice) -> int:
    return len(lattice.splat.starts) - 1


def naive(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Section 3 of the paper, sample by sample, lattice points in a dictionary."""
    dimensions, count = features.shape
    spread = np.sqrt(2 / 3) * (dimensions + 1)
    basis = np.zeros((dimensions + 1, dimensions))
    for axis in range(dimensions):
        basis[: axis + 1, axis], basis[axis + 1, axis] = 1, -(axis + 1)
        basis[:, axis] /= np.sqrt((axis + 1) * (axis + 2))
    simplices = [simplex(spread * basis @ features[:, sample]) for sample in range(count)]
    points: dict[tuple[int, ...], np.ndarray] = {}
    for corners, value in zip(simplices, values, strict=True):
        for point, weight in corners:
            points[point] = points.get(point, 0) + weight * value
    for direction in range(dimensions + 1):
        step = -np.ones(dimensions + 1, dtype=int)
        step[direction] += dimensions + 1
        points = {
            point: own + 0.5 * sum(points.get(tuple(np.add(point, sign * step)), 0) for sign in (1, -1))
            for point, own in points.items()
        }
    gathered = [sum(weight * points[point] for point, weight in corners) for corners in simplices]
    return np.asarray(np.array(gathered) / (1 + 0.5**dimensions))


def simplex(place: np.ndarray) -> list[tuple[tuple[int, ...], float]]:
    """The d + 1 lattice points around a place with their weights, which reproduce it: a linear system."""
    size = len(place)
    best = min(
        (np.array([*head, -sum(head)]) for head in product(*[near(value, size) for value in place[:-1]])),
        key=lambda corner: np.square(place - corner).sum(),
    )
    descending = np.argsort(-(place - best), kind="stable")
    corners = []
    for colour in range(size):
        corner = best + colour
        corner[descending[size - colour :]] -= size
        corners.append(corner)
    system = np.vstack([np.array(corners).T[:-1], np.ones(size)])
    weights = np.linalg.solve(system, np.append(place[:-1], 1.0))
    assert weights.min() > -1e-9
    return [(tuple(corner.tolist()), weight) for corner, weight in zip(corners, weights, strict=True)]


def near(value: float, size: int) -> list[int]:
    return [int(np.floor(value / size)) * size, int(np.ceil(value / size)) * size]


@pytest.mark.parametrize(("dimensions", "count", "width"), [(1, 9, 2.0), (2, 40, 1.0), (3, 25, 0.4), (5, 31, 0.7)])
def test_is_the_papers_filter(dimensions: int, count: int, width: float) -> None:
    generator = torch.Generator().manual_seed(dimensions)
    features = width * torch.randn(dimensions, count, generator=generator)
    values = torch.randn(count, 3, generator=generator)
    expected = naive(features.double().numpy(), values.double().numpy())
    np.testing.assert_allclose(filtered(features, values).numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(("dimensions", "bound"), [(2, 0.05), (5, 0.06)])
def test_approximates_all_pairs(dimensions: int, bound: float) -> None:
    """Weighted means, as the lattice keeps shapes, not sums; values are 0 or 1. Samples lie dense, as pixels do."""
    generator = torch.Generator().manual_seed(0)
    features = 1.5 * torch.rand(dimensions, 3000, generator=generator)
    values = (features.sum(dim=0) > 0.75 * dimensions).float()[:, None]
    kernel = torch.exp(-0.5 * torch.cdist(features.T, features.T).square())
    exact = kernel @ values / kernel.sum(dim=1, keepdim=True)
    found = filtered(features, values) / filtered(features, torch.ones_like(values))
    assert (found - exact).abs().max() < bound
    assert (values - exact).abs().max() > 5 * bound


def test_order_of_samples_is_free() -> None:
    features, values = torch.randn(3, 50), torch.randn(50, 2)
    order = torch.randperm(50)
    torch.testing.assert_close(filtered(features[:, order], values[order]), filtered(features, values)[order])


def test_groups_do_not_meet() -> None:
    features, values = torch.randn(5, 60), torch.randn(60, 2)
    groups = torch.randint(0, 3, (60,))
    together = gaussian_filter(lattice_of(features, groups), values)
    for group in range(3):
        own = groups == group
        alone = filtered(features[:, own], values[own]) if own.any() else together[:0]
        torch.testing.assert_close(together[own], alone)


def test_weights_stay_in_the_simplex() -> None:
    lattice = lattice_of(3 * torch.randn(5, 200), torch.zeros(200, dtype=torch.long))
    torch.testing.assert_close((1 + 2.0**-5) * lattice.slice.of(torch.ones(points(lattice), 1)), torch.ones(200, 1))
    for matrix in (lattice.splat, lattice.slice):
        assert matrix.weights.min() > -1e-5
        assert len(matrix.entries) == len(matrix.weights) == int(matrix.starts[-1]) == 200 * 6


def test_neighbours_are_mutual() -> None:
    """A blur is a symmetric matrix; what stands for missing points stays empty."""
    lattice = lattice_of(torch.randn(2, 80), torch.zeros(80, dtype=torch.long))
    for direction in lattice.blur:
        matrix = direction.of(torch.eye(points(lattice)))[:-1, :-1]
        assert torch.equal(matrix, matrix.T)
        assert torch.equal(matrix.diagonal(), torch.ones(points(lattice) - 1))
        assert set(matrix.flatten().tolist()) == {0.0, 0.5, 1.0}
        splat = lattice.splat.of(torch.ones(80, 1))
        assert splat[-1] == direction.of(splat)[-1] == 0


def test_normalized_rows() -> None:
    """D^-1/2 K D^-1/2 maps D^1/2 to itself."""
    lattice = lattice_of(torch.randn(2, 70), torch.zeros(70, dtype=torch.long))
    root = gaussian_filter(lattice, torch.ones(70, 1)).sqrt()
    torch.testing.assert_close(gaussian_filter(normalized(lattice, weight=3.0), root), 3 * root)


def test_one_sample_and_samples_at_one_place() -> None:
    one = filtered(torch.full((2, 1), 0.3), torch.ones(1, 1))
    assert 0 < one.item() <= 1
    torch.testing.assert_close(filtered(torch.full((2, 7), 0.3), torch.ones(7, 1)), one.expand(7, 1) * 7)


@pytest.mark.parametrize("spread", [1.0, 3e4])
def test_small_and_large_numbers_of_points(spread: float) -> None:
    """Samples that are far apart meet themselves alone; points are numbered in 64 bits then."""
    features = spread * torch.eye(3)
    values = torch.tensor([[1.0], [2.0], [4.0]])
    alone = torch.cat([filtered(features[:, i : i + 1], values[i : i + 1]) for i in range(3)])
    assert torch.allclose(filtered(features, values), alone) == (spread > 1)


def test_too_far_apart() -> None:
    with pytest.raises(UserError, match="raise bilateral_srgb or bilateral_sxy"):
        lattice_of(1e5 * torch.eye(5), torch.zeros(5, dtype=torch.long))
