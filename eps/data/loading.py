"""Batches of a dataset, read ahead by other processes where asked for."""

import shutil
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset

from eps.data.sampling import TrainingDraws
from eps.errors import UserError

Batch = TypeVar("Batch")
Join = Callable[[list[Any]], Batch]
SHARED = Path("/dev/shm")
"""Where workers put what they hand over; containers have 64 MB of it unless they are told otherwise."""
AMPLE = 2**30
AHEAD = 2
"""Batches that each worker reads ahead (torch's own number)."""


def load_batches(dataset: Dataset[Any], draws: TrainingDraws, *, join: Join[Batch], workers: int) -> Iterator[Batch]:
    """The batches of `draws`, read by `workers` processes (0: by this one), which changes none of them.

    A `UserError` in a worker is raised here as it was there; one is raised, too, where there is too little shared
    memory for what workers read ahead: they would wait for ever.
    """
    if workers and (free := _free()) < AMPLE:
        _refuse_too_little(dataset, draws, join, workers=workers, free=free)
    try:
        with warnings.catch_warnings():  # of more workers than cores, which a container may have few of
            warnings.filterwarnings("ignore", "This DataLoader will create")
            # its own generator: of the global one, which dropout draws from, a resumed run would take one number more
            loader = DataLoader(
                dataset, batch_sampler=draws, collate_fn=join, num_workers=workers, generator=torch.Generator()
            )
            batches = iter(loader)
        yield from batches
        return
    except UserError as error:  # torch hands on a worker's whole traceback, whose last line is the message
        message = str(error).strip().splitlines()[-1].removeprefix("eps.errors.UserError: ")
        error.__traceback__ = None  # it keeps the workers, whose end then takes seconds
    raise UserError(message)


def _free() -> int:
    return shutil.disk_usage(SHARED).free if SHARED.exists() else AMPLE


def _refuse_too_little(
    dataset: Dataset[Any], draws: TrainingDraws, join: Join[Any], *, workers: int, free: int
) -> None:
    """By the first batch, made here once more."""
    leaves = tree_leaves([join([dataset[draw] for draw in batch]) for batch in islice(draws, 1)])
    needed = AHEAD * workers * sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
    if needed > free:
        raise UserError(
            f"runtime.workers={workers}: they hand photos over through {SHARED}, which has {free / 2**20:.0f} MiB left "
            f"of about {needed / 2**20:.0f} that they need: set fewer, or 0, or give the container more (--shm-size 2g)"
        )
