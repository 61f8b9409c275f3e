"""How long a call takes: percentiles over many, after some that do not count."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

Input = TypeVar("Input")


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds a call, and how many calls a second their mean makes."""

    p50: float
    p90: float
    p99: float
    mean: float
    per_second: float


def measure(call: Callable[[Input], object], inputs: Sequence[Input], *, runs: int, device: torch.device) -> Latency:
    """Time `runs` calls, the inputs in turn, after a tenth as many for warming up, three at least."""
    for index in range(max(3, runs // 10)):
        timed(call, inputs[index % len(inputs)], device)
    return summary([timed(call, inputs[index % len(inputs)], device) for index in range(runs)])


def summary(seconds: Sequence[float]) -> Latency:
    """Percentiles (linear between two calls) and the mean."""
    p50, p90, p99 = (round(1000 * float(value), 3) for value in np.percentile(seconds, [50, 90, 99]))
    mean = sum(seconds) / len(seconds)
    return Latency(p50=p50, p90=p90, p99=p99, mean=round(1000 * mean, 3), per_second=round(1 / mean, 2))


def timed(call: Callable[[Input], object], value: Input, device: torch.device) -> float:
    """Seconds of one call; a GPU has finished its work before the clock is read."""
    _finish(device)
    began = time.perf_counter()
    call(value)
    _finish(device)
    return time.perf_counter() - began


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
