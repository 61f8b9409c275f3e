import numpy as np
import pytest

from eps.ops.extents import extent


@pytest.mark.parametrize("seed", range(4))
def test_against_loops(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 13)) > 0.95
    inside = [(x, y) for y in range(9) for x in range(13) if mask[y, x]]
    xs, ys = zip(*inside, strict=True)
    assert extent(mask) == (min(xs), min(ys), max(xs) + 1, max(ys) + 1)


def test_the_whole_photo_and_one_pixel() -> None:
    assert extent(np.ones((4, 7), dtype=bool)) == (0, 0, 7, 4)
    single = np.zeros((4, 7), dtype=bool)
    single[3, 0] = True
    assert extent(single) == (0, 3, 1, 4)


@pytest.mark.parametrize("shape", [(4, 7), (0, 0)])
def test_nothing_is_nowhere(shape: tuple[int, int]) -> None:
    assert extent(np.zeros(shape, dtype=bool)) == (0, 0, 0, 0)
