"""Which photos a training step sees: a function of seed and step alone, so that a resumed run sees the same."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One photo of a batch: its place in the dataset and the seed of its augmentation."""

    position: int
    seed: int


class TrainingDraws(Sampler[list[Draw]]):
    """The batches of steps `start`..`steps` - 1: epoch after epoch in an order that only `seed` decides."""

    def __init__(self, *, photos: int, batch: int, steps: int, seed: int, start: int = 0) -> None:
        self.photos, self.batch, self.steps, self.seed, self.start = photos, batch, steps, seed, start

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
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
