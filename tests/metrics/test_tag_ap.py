from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eps.metrics.tag_ap import average_precision

PHOTOS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12)


def naive(scores: list[int], shown: list[bool]) -> float:
    """From the definition, photo by photo."""
    precisions = []
    for score, there in zip(scores, shown, strict=True):
        if there:
            above = [s for other, s in zip(scores, shown, strict=True) if other >= score]
            precisions.append(sum(above) / len(above))
    return sum(precisions) / len(precisions) if precisions else float("nan")


def found(scores: list[int], shown: list[bool]) -> float:
    return average_precision(np.array(scores, dtype=np.float32), np.array(shown, dtype=bool))


@given(PHOTOS)
def test_definition(photos: list[tuple[int, bool]]) -> None:
    scores, shown = map(list, zip(*photos, strict=True))
    assert found(scores, shown) == pytest.approx(naive(scores, shown), nan_ok=True)


@given(PHOTOS, st.randoms(use_true_random=False))
def test_the_order_of_photos_does_not_matter(photos: list[tuple[int, bool]], random: Random) -> None:
    mixed = list(photos)
    random.shuffle(mixed)
    one, other = (found(*map(list, zip(*these, strict=True))) for these in (photos, mixed))
    assert one == pytest.approx(other, nan_ok=True)


def test_ends() -> None:
    assert found([3, 2, 1], [True, True, False]) == 1
    assert found([1, 2, 3, 4], [True, False, False, False]) == 0.25
    assert found([0, 0, 0, 0], [True, False, False, False]) == 0.25
    assert np.isnan(found([1, 2], [False, False]))
