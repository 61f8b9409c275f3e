"""Side-by-side timings: every way runs in turn, in one process, so that whatever else the machine does meets all alike.

A benchmark is `python -m benchmarks.NAME`. It prints the machine, a table and, with `--json`, one JSON object as its
last line: `benchmark, ratio` (plain time / our time, of the medians), `ratio_quartiles` (of the rounds), `agreement`
(share of equal results, 0..1), `medians` and `quartiles` (milliseconds), `rounds, device, machine, settings`, and
whatever the benchmark adds.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

Call = Callable[[], object]

PLAIN, OURS = "plain", "ours"


def arguments(description: str | None, *, rounds: int = 15) -> argparse.ArgumentParser:
    """What every benchmark takes; it adds its own."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch (default: 2)")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"timed rounds of all ways (default: {rounds})")
    parser.add_argument("--warmup", type=int, default=3, help="rounds before, which do not count (default: 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="a last line with one JSON object")
    return parser


def prepare(options: argparse.Namespace) -> torch.device:
    """Set threads and seed, and say which device to use."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    name = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a benchmark found. Times are lists of milliseconds, the n-th of each way from the same round."""

    benchmark: str
    times: Mapping[str, Sequence[float]]
    agreement: float
    device: torch.device
    settings: Mapping[str, Any]
    plain: str = PLAIN
    ours: str = OURS
    more: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of one benchmark alone; goes into the JSON object as it is."""

    @property
    def ratio(self) -> float:
        """Plain time / our time, of the medians."""
        return float(np.median(self.times[self.plain]) / np.median(self.times[self.ours]))

    def summary(self) -> dict[str, Any]:
        """The JSON object."""
        paired = np.divide(self.times[self.plain], self.times[self.ours])
        return {
            "benchmark": self.benchmark,
            "ratio": _rounded(self.ratio),
            "ratio_quartiles": _quartiles(paired),
            "agreement": self.agreement,
            "medians": {name: _rounded(float(np.median(times))) for name, times in self.times.items()},
            "quartiles": {name: _quartiles(times) for name, times in self.times.items()},
            "rounds": len(self.times[self.ours]),
            "device": str(self.device),
            "machine": asdict(machine(self.device)),
            "settings": dict(self.settings),
            **self.more,
        }


@dataclass(frozen=True)
class Machine:
    """What the times are of."""

    cpu: str
    cores: int
    threads: int
    load: float | None
    """Processes that ran or waited over the last minute: other than 0 or 1, the machine was not idle."""
    gpu: str | None
    system: str
    torch: str


def machine(device: torch.device) -> Machine:
    """This machine, as far as it tells."""
    return Machine(
        cpu=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        torch=torch.__version__,
    )


def interleave(calls: Mapping[str, Call], *, rounds: int, warmup: int, device: torch.device) -> dict[str, list[float]]:
    """Milliseconds of each call in each round; they take turns at being first. A GPU has finished at each reading."""
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warmup + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            elapsed = _timed(calls[name], device)
            if number >= warmup:
                times[name].append(elapsed)
    return times


def in_graphs(calls: Mapping[str, Call], *, rounds: int, warmup: int, repeats: int = 20) -> dict[str, list[float]]:
    """Milliseconds of each call on the GPU alone: `repeats` of them recorded in a CUDA graph, played back in turn."""
    device = torch.device("cuda")
    graphs = {name: _recorded(call, repeats) for name, call in calls.items()}
    times = interleave({name: g.replay for name, g in graphs.items()}, rounds=rounds, warmup=warmup, device=device)
    return {name: [one / repeats for one in some] for name, some in times.items()}


def extra_memory(call: Call, device: torch.device) -> int:
    """Bytes that a call needs beyond what there is before it, its result included.

    On a GPU what torch has allocated at most; else what the system counts as resident, so that a process does this
    once, and nothing of the kind before: see `measured_apart`.
    """
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    before = _reset_peak()
    call()
    return _peak() - before


def measured_apart(module: str, options: Sequence[str]) -> list[float]:
    """The numbers in the last line that another process of a benchmark prints."""
    done = subprocess.run([sys.executable, "-m", module, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(options)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return [float(number) for number in done.stdout.splitlines()[-1].split()]


def bandwidth(device: torch.device, *, size: int = 2**28, rounds: int = 7) -> float:
    """Bytes per second, read and written, of the best of some large copies: what memory can do in this run."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(_timed(lambda: target.copy_(source), device) for _ in range(rounds))
    return 2 * size / (best / 1000)


def show(comparison: Comparison, *, as_json: bool, notes: Sequence[str] = ()) -> None:
    """Print the machine, a table, some lines, and the JSON object where it is asked for."""
    console, found = Console(), comparison.summary()
    console.print(", ".join(f"{name}: {value}" for name, value in found["machine"].items() if value is not None))
    console.print(", ".join(f"{name} {value}" for name, value in comparison.settings.items()))
    table = Table("way", "median ms", "quartiles ms", f"{comparison.plain} / it")
    for name, times in comparison.times.items():
        low, high = found["quartiles"][name]
        ratio = float(np.median(comparison.times[comparison.plain]) / np.median(times))
        table.add_row(name, f"{np.median(times):.3f}", f"{low:.3f} .. {high:.3f}", f"{ratio:.2f}")
    console.print(table)
    for note in (f"agreement {comparison.agreement:.6f}, ratio {comparison.ratio:.2f}", *notes):
        console.print(note)
    if as_json:
        print(json.dumps(found), flush=True)


def _timed(call: Call, device: torch.device) -> float:
    _finish(device)
    began = time.perf_counter()
    result = call()
    _finish(device)
    elapsed = 1000 * (time.perf_counter() - began)
    del result  # giving memory back is not part of it
    return elapsed


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _recorded(call: Call, repeats: int) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        call()  # compiles, and fills caches
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            call()
    return graph


def _quartiles(values: Sequence[float] | np.ndarray) -> list[float]:
    return [_rounded(float(value)) for value in np.percentile(values, [25, 75])]


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _processor() -> str:
    if (place := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in place.read_text().splitlines() if line[:10] == "model name"]
        return names[0] if names else platform.machine()
    return platform.processor() or platform.machine()


def _reset_peak() -> int:
    """Let the peak begin at what is resident now, where the system can (Linux), and say how much that is."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
