"""Which photos a training step sees: a function of seed and step alone, so that a resumed run sees the same."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

import torch
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One photo of a batch: its place in the dataset and the seed of its augmentation."""

    position: int
    seed: int


class Division(NamedTuple):
    """How the batch of a step is divided: among `ranks` processes, of which this is `rank`, each in `parts` passes."""

    rank: int = 0
    ranks: int = 1
    parts: int = 1


class TrainingDraws(Sampler[list[Draw]]):
    """The batches of steps `start`..`steps` - 1: epoch after epoch in an order that only `seed` decides.

    Of a divided batch these are one process's parts, `division.parts` a step: whatever the division, all processes
    together see the same draws in a step. `batch` has to be divisible.
    """

    def __init__(
        self, *, photos: int, batch: int, steps: int, seed: int, start: int = 0, division: Division | None = None
    ) -> None:
        self.photos, self.batch, self.steps, self.seed, self.start = photos, batch, steps, seed, start
        self.division = division or Division()

    def __len__(self) -> int:
        return (self.steps - self.start) * self.division.parts

    def __iter__(self) -> Iterator[list[Draw]]:
        rank, ranks, parts = self.division
        size = self.batch // (ranks * parts)
        for batch in self._whole():
            for part in range(rank * parts, (rank + 1) * parts):
                yield batch[part * size : (part + 1) * size]

    def _whole(self) -> Iterator[list[Draw]]:
        epoch, order = -1, torch.empty(0)
        for step in range(self.start, self.steps):
            batch = []
            for place in range(step * self.batch, (step + 1) * self.batch):
                if place // self.photos != epoch:
                    epoch = place // self.photos
                    generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
                    order = torch.randperm(self.photos, generator=generator)
                batch.append(Draw(int(order[place % self.photos]), (self.seed << 32) + place))
            yield batch


def by_hash(ids: Iterable[str], *, most: int) -> list[str]:
    """At most so many of the ids, in an order that depends on nothing but themselves."""
    return sorted(ids, key=lambda name: sha256(name.encode()).digest())[:most]


def sample(ids: Sequence[str], *, most: int, seed: int | None) -> list[str]:
    """The first `most` ids (0: all), or, given a seed, so many of an order that it decides."""
    order = list(range(len(ids)))
    if seed is not None:
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).tolist()
    return [ids[position] for position in order[: most or None]]
