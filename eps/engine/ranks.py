"""Several processes that do one job together, as torchrun and `accelerate launch` start them; one alone is rank 0 of 1.

They share the disk. What only one may do, rank 0 does for all: `on_main`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.state import PartialState
from jaxtyping import Shaped
from torch import Tensor, distributed

from eps.errors import UserError

Value = TypeVar("Value")
Item = TypeVar("Item")
PATIENCE = timedelta(hours=6)
"""While rank 0 reads, scores or writes for all, the others wait; who dies is noticed at once by the launcher."""


def launched() -> int:
    """How many processes a launcher says that it has started; 1 without one."""
    told = os.environ.get("WORLD_SIZE") or "1"
    if not told.isdecimal():
        raise UserError(f"WORLD_SIZE={told}: must be a number of processes, as a launcher sets it")
    return int(told)


def join(*, device: str) -> None:
    """Meet the other processes of a launcher, if there are any: on CUDA by nccl, else by gloo."""
    if launched() == 1 or distributed.is_initialized():
        return
    if "LOCAL_RANK" not in os.environ:
        raise UserError(f"WORLD_SIZE={launched()} without a LOCAL_RANK: start several processes with torchrun")
    for name in ("RANK", "LOCAL_RANK", "MASTER_PORT"):
        if not os.environ.get(name, "0").isdecimal():
            raise UserError(f"{name}={os.environ[name]}: must be a number, as a launcher sets it")
    PartialState(cpu=device == "cpu" or not torch.cuda.is_available(), timeout=PATIENCE)


def leave() -> None:
    """Part from the others, at the end of the job."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    """How many processes work together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def label() -> str:
    """What an error of this process begins with where there are several."""
    return f"rank {os.environ.get('RANK', '?')}: " if launched() > 1 else ""


def speaks() -> bool:
    """Whether this process is the one that tells what all of them do, also before they have joined."""
    return launched() == 1 or os.environ.get("RANK") == "0"


def wait() -> None:
    """Go on when every process is here."""
    if count() > 1:
        distributed.barrier()


def on_main(work: Callable[[], Value]) -> Value:
    """What `work` gives on rank 0, which alone does it; all others wait for it, and end where it fails."""
    if count() == 1:
        return work()
    told: list[Any] = [None, None]
    failure: BaseException | None = None
    if rank() == 0:
        try:
            told = [True, work()]
        except BaseException as error:
            failure = error
    distributed.broadcast_object_list(told, src=0)
    if failure is not None:
        raise failure
    if told[0] is None:
        raise SystemExit(1)  # rank 0 says why
    value: Value = told[1]
    return value


def gathered(value: Value) -> list[Value]:
    """The value of every rank, in their order, on all of them."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    distributed.all_gather_object(values, value)
    return values


def merged(own: Mapping[str, Value], *, order: Iterable[str]) -> dict[str, Value]:
    """What all ranks have, by name, in this order."""
    every = {name: value for part in gathered(own) for name, value in part.items()}
    return {name: every[name] for name in order}


def collected(value: Value) -> list[Value]:
    """The value of every rank, in their order, on rank 0; nothing elsewhere."""
    if count() == 1:
        return [value]
    values: list[Any] | None = [None] * count() if rank() == 0 else None
    distributed.gather_object(value, values, dst=0)
    return values or []


def mean(values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The mean over all ranks of a tensor that each of them has; no gradient flows through it."""
    if count() == 1:
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total / count()


def any_of(this: bool) -> bool:
    """Whether it is so on any rank."""
    return any(gathered(this)) if count() > 1 else this


@contextmanager
def shared(folder: Callable[[], AbstractContextManager[Path]]) -> Iterator[Path]:
    """A folder that rank 0 makes, for all ranks to write to; rank 0 leaves it, and so finishes it, first."""
    with folder() if rank() == 0 else nullcontext(Path()) as made:
        yield on_main(lambda: made)
    wait()


def own(items: Sequence[Item]) -> list[Item]:
    """Every so many-th of the items: between them the ranks have each of them once."""
    return list(items[rank() :: count()])
