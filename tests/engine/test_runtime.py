import random
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from eps.engine import ranks, runtime
from eps.errors import UserError


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002 - the global generator is meant


def test_every_generator_is_seeded() -> None:
    runtime.start(device="cpu", precision="fp32", threads=1, seed=3)
    first = draws()
    runtime.start(device="cpu", precision="fp32", threads=1, seed=3)
    assert draws() == first
    runtime.start(device="cpu", precision="fp32", threads=1, seed=4)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_threads() -> None:
    runtime.start(device="cpu", precision="fp32", threads=1, seed=0)
    assert torch.get_num_threads() == 1
    runtime.start(device="cpu", precision="fp32", threads=2, seed=0)
    assert torch.get_num_threads() == 2
    runtime.start(device="cpu", precision="fp32", threads=0, seed=0)
    assert torch.get_num_threads() == 2


def test_determinism_is_asked_for() -> None:
    torch.use_deterministic_algorithms(False)
    runtime.start(device="cpu", precision="fp32", threads=1, seed=0)
    assert torch.are_deterministic_algorithms_enabled()


def test_precision_may_change_from_job_to_job() -> None:
    """The jobs of a sweep run in one process."""
    for precision, expected in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        accelerator = runtime.start(device="cpu", precision=precision, threads=1, seed=0)
        assert accelerator.device == torch.device("cpu")
        with accelerator.autocast():
            assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(2, 2)).dtype == expected


def test_missing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"runtime\.device=cuda: torch sees no CUDA device; use runtime\.device=cpu"):
        runtime.start(device="cuda", precision="fp32", threads=1, seed=0)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="WORLD_SIZE=2: only one process is supported"):
        runtime.start(device="cpu", precision="fp32", threads=1, seed=0)


@pytest.mark.parametrize(("name", "value"), [("WORLD_SIZE", "abc"), ("LOCAL_RANK", "x"), ("MASTER_PORT", "-1")])
def test_what_no_launcher_would_set(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for known, number in {"WORLD_SIZE": "2", "LOCAL_RANK": "0", name: value}.items():
        monkeypatch.setenv(known, number)
    with pytest.raises(UserError, match=f"{name}={value}: must be a number"):
        ranks.join(device="cpu")


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="asks Linux")
def test_peak_memory_is_the_kernels() -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert runtime.peak_memory_mb() == pytest.approx((kilobytes + children) / 1024, rel=0.1)
