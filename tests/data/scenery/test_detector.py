"""The imitated saliency detector on a single square."""

import numpy as np
import pytest

from eps.data.scenery.detector import detect


def square(size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[20:44, 20:44] = True
    return mask


def test_misses_one_object_in_fourteen_and_no_distractor() -> None:
    rng = np.random.default_rng(0)
    mask, nothing = square(), np.zeros((64, 64), dtype=bool)
    missed = [detect(rng, 64, [mask], [])[mask].mean() < 60 for _ in range(600)]
    assert np.mean(missed) == pytest.approx(0.07, abs=0.025)
    assert all(detect(rng, 64, [nothing], [mask])[mask].mean() > 100 for _ in range(100))


def test_is_soft_at_the_boundary_and_dark_far_from_it() -> None:
    rng = np.random.default_rng(1)
    maps = np.stack([detect(rng, 64, [], [square()]) for _ in range(50)]).astype(float)
    assert maps[:, 28:36, 28:36].mean() > 190  # strengths of 0.7 to 1
    assert 60 < maps[:, 19:21, 28:36].mean() < 180
    assert maps[:, :8].mean() < 25


def test_empty_scene() -> None:
    assert detect(np.random.default_rng(2), 32, [], []).max() < 30
