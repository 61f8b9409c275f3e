"""What is looked at while a network learns: losses and the rate of each step, now and then a score and pictures.

Looking changes nothing: it is done with a copy of the network, and what it draws at random nobody misses.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from PIL import Image
from torch import nn

from eps.engine import ranks
from eps.engine.tracking import Log

Model = TypeVar("Model", bound=nn.Module)
PHOTOS_TO_LOOK_AT, PICTURES = 16, 4
"""A look takes the score of so many photos, and pictures of so many."""
SCORE = "agreement"
"""What the score is called: none that is taken while a network learns knows truth."""


@dataclass(frozen=True, kw_only=True)
class Look(Generic[Model]):
    """What to look at: both are given a copy of the network in evaluation mode."""

    score: Callable[[Model], float]
    pictures: Callable[[Model], Iterable[tuple[str, Image.Image]]]
    """Pictures by name, for the log alone."""


class Watch(Generic[Model]):
    """Follows a training: `log` gets every step's numbers; at the steps `at` (counted when done) there is a look.

    `scores` are what the looks have found. They are a part of the state that a stopped run goes on from. `open_log` is
    given the steps that are done. Of several processes rank 0 alone looks and logs.
    """

    def __init__(
        self, *, look: Look[Model], at: Sequence[int], open_log: Callable[[int], Log | None] = lambda done: None
    ) -> None:
        self.scores: list[dict[str, float]] = []
        self._look, self._at, self._open_log = look, frozenset(at), open_log
        self._log: Log | None = None

    @contextmanager
    def following(self, history: Sequence[Mapping[str, float]]) -> Iterator[None]:
        """Keep the log open, from after the steps that are done; what the log has lost of them it is told again."""
        self._log = self._open_log(len(history))
        if self._log is not None:
            scores = {score["step"]: {SCORE: score[SCORE]} for score in self.scores}
            for done, terms in enumerate(history, start=1):
                self._log.numbers({**_losses(terms), **scores.get(done, {})}, step=done)
        try:
            yield
        finally:
            if self._log is not None:
                self._log.close()

    def step(self, model: Model, done: int, *, terms: Mapping[str, float], rate: float) -> None:
        """Take note of a step, the last of those done."""
        if ranks.rank():
            return
        found = self._looked_at(model, done) if done in self._at else {}
        if self._log is not None:
            self._log.numbers({**_losses(terms), "learning_rate": rate, **found}, step=done)

    def state_dict(self) -> dict[str, Any]:
        """The scores so far."""
        return {"scores": self.scores}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the scores of a stopped run."""
        self.scores = list(state["scores"])

    def _looked_at(self, model: Model, done: int) -> dict[str, float]:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):  # else it warns where there are many
            copy = deepcopy(model).eval()
            score = self._look.score(copy)
            found = {SCORE: score} if math.isfinite(score) else {}
            if found:
                self.scores.append({"step": done, **found})
            if self._log is not None:
                for name, picture in self._look.pictures(copy):
                    self._log.picture(name, picture, step=done)
        return found


def _losses(terms: Mapping[str, float]) -> dict[str, float]:
    return {f"loss/{name}": value for name, value in terms.items()}


UNWATCHED: Watch[Any] = Watch(look=Look(score=lambda model: 0.0, pictures=lambda model: ()), at=())
"""Nobody looks."""


def spread_over(steps: int, *, times: int) -> list[int]:
    """So many steps evenly over a training, the last one among them; each step where there are fewer."""
    return sorted({max(1, round(steps * number / times)) for number in range(1, times + 1)})
