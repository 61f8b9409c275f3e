import pytest
import torch

from eps.engine.latency import measure, summary


def test_percentiles() -> None:
    found = summary([number / 1000 for number in range(101)])
    assert (found.p50, found.p90, found.p99, found.mean) == pytest.approx((50, 90, 99, 50))
    assert found.per_second == pytest.approx(20)


def test_inputs_in_turn_after_a_warm_up() -> None:
    seen: list[int] = []
    found = measure(seen.append, [1, 2, 3], runs=40, device=torch.device("cpu"))
    assert len(seen) == 44
    assert seen[:5] == [1, 2, 3, 1, 1]  # four that do not count, then from the start
    assert 0 <= found.p50 <= found.p90 <= found.p99 < 1000
