"""Device, precision, threads and seeds of a run."""

import os
import resource
import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from eps.engine import ranks
from eps.errors import UserError


def start(*, device: str, precision: str, threads: int, seed: int) -> Accelerator:
    """Set threads and seeds and hand out the accelerator.

    `device` is `auto`, `cpu` or `cuda`; `precision` is `fp32`, `bf16` or `fp16`; `threads` 0 leaves torch's choice.
    Results are deterministic for a seed on one machine: deterministic algorithms are asked for. Raises `UserError`
    where the device is not there, or where a launcher has started several processes that have not joined.
    """
    if (processes := ranks.launched()) != ranks.count():
        raise UserError(f"WORLD_SIZE={processes}: only one process is supported; start the verb without a launcher")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic products; read when CUDA starts
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device=cuda: torch sees no CUDA device; use runtime.device=cpu or auto")
    if threads > 0:
        torch.set_num_threads(threads)
    set_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    mixed = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}[precision]
    # accelerate keeps one state a process; the next job of a sweep may want another device or precision
    AcceleratorState._reset_state(reset_partial_state=ranks.count() == 1)
    on_cpu = device == "cpu" or (ranks.count() > 1 and not torch.cuda.is_available())  # else it would know no gloo
    return Accelerator(cpu=on_cpu, mixed_precision=mixed)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far plus that of its largest ended child, in MiB."""
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
