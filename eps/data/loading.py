"""Batches of a dataset, read ahead by other processes where asked for."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from eps.data.sampling import TrainingDraws
from eps.errors import UserError

Batch = TypeVar("Batch")


def load_batches(
    dataset: Dataset[Any], draws: TrainingDraws, *, join: Callable[[list[Any]], Batch], workers: int
) -> Iterator[Batch]:
    """The batches of `draws`, read by `workers` processes (0: by this one), which changes none of them.

    A `UserError` in a worker is raised here as it was there.
    """
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
