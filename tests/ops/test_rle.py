import json

import numpy as np
import pytest

from eps.ops.rle import RLE, decode_rle, encode_rle


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (30, 3)])
def test_round_trip_through_json(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) > 0.5
    restored = decode_rle(json.loads(json.dumps(encode_rle(mask))))
    assert restored.dtype == bool
    np.testing.assert_array_equal(restored, mask)


@pytest.mark.parametrize("value", [False, True])
def test_uniform_masks(value: bool) -> None:
    mask = np.full((4, 6), value)
    np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)


def test_runs_go_down_the_columns_and_start_with_zeros() -> None:
    """Counts 1, 2, 3: COCO writes small run lengths as characters from '0', the fourth and later as differences."""
    mask = np.array([[0, 0], [1, 0], [1, 0]], dtype=bool)
    assert encode_rle(mask) == RLE(size=[3, 2], counts="123")


def test_memory_order_does_not_matter() -> None:
    mask = np.random.default_rng(1).random((6, 9)) > 0.5
    assert encode_rle(np.asfortranarray(mask)) == encode_rle(mask)
    assert encode_rle(mask[::2, ::3]) == encode_rle(mask[::2, ::3].copy())
