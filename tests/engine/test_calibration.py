"""Seconds of a step and of a call, on a clock that the test turns."""

from typing import NamedTuple

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from eps.engine import latency
from eps.engine.calibration import mean_seconds, step_seconds

CPU = torch.device("cpu")


class Output(NamedTuple):
    maps: Tensor
    anchors: Tensor


class Network(nn.Module):
    """Takes a second a photo."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Output:
        assert self.training
        self.seen.append(tuple(images.shape))
        Clock.now += len(images)
        return Output(self.layer(images), torch.zeros(4))  # anchors want no gradient


class Clock:
    now = 0.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock.now = 0.0
    monkeypatch.setattr(latency.time, "perf_counter", lambda: Clock.now)


def test_mean_without_the_first_call() -> None:
    given: list[float] = []

    def call(seconds: float) -> None:
        Clock.now += seconds if given else 100
        given.append(seconds)

    assert mean_seconds(call, [1.0, 2.0, 6.0], device=CPU) == 3
    assert given == [1.0, 1.0, 2.0, 6.0]


@pytest.mark.parametrize("photos", [1, 2, 16])
def test_a_step_of_many_photos_is_found_out_from_few(photos: int) -> None:
    model = Network().eval()
    assert step_seconds(model, Accelerator(cpu=True), photos=photos, size=(8, 6)) == photos
    assert set(model.seen) == {(min(photos, 2), 3, 8, 6)}
    assert all(parameter.grad is None for parameter in model.parameters())
