"""The training loop: it knows neither the model nor the loss."""

import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from eps.engine import ranks
from eps.engine.checkpoint import Position, ResumeFile
from eps.engine.descent import Descent, Losses
from eps.engine.progress import progress_bar, remark
from eps.engine.watch import UNWATCHED, Watch
from eps.errors import UserError

Batch = TypeVar("Batch")
History = list[dict[str, float]]
SKIPPED = "skipped"
"""In the history the one term of a step that has changed nothing."""
TOO_LARGE = 1e6
"""No weight of a network that learns: one this large has run away, finite or not."""
WAY_OUT = "lower the learning rate (optim.lr) or clip (optim.clip)"


def train(
    *,
    model: nn.Module,
    criterion: Callable[[nn.Module, Batch, int], Losses],
    batches: Callable[[int], Iterable[Batch]],
    optimizer: Optimizer,
    scheduler: LRScheduler,
    accelerator: Accelerator,
    steps: int,
    clip: float,
    resume: ResumeFile,
    save_every: int,
    label: str,
    max_bad_steps: int = 0,
    photos: Callable[[int], Sequence[str]] = lambda step: (),
    count: Callable[[Batch], Float[Tensor, " k"]] | None = None,
    parts: int = 1,
    watch: Watch[Any] = UNWATCHED,
) -> History:
    """Train to `steps`, from where `resume` stands, and return the loss terms of every step.

    `batches(start)` yields the batches from step `start` on, `parts` of them a step; of several processes, each has its
    own (see `Descent`, also for `count`). `criterion(model, batch, step)` runs the model on one: its outputs are
    float32 whatever the precision, and so are losses. A state to resume from is written every `save_every` steps (0:
    never) and on Ctrl-C, which waits for the step to end. A step whose loss or gradient is not finite leaves the model
    as it was; it is reported with the ids that `photos(step)` gives. Raises `UserError` once there are more than
    `max_bad_steps` of them, or where the run ends in several, or at the first where the weights have run away: it has
    diverged. `watch` follows every step and changes nothing.
    """
    state: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "watch": watch}
    if accelerator.scaler is not None:  # of fp16
        state["scaler"] = accelerator.scaler
    if ranks.rank():  # else every process would drop out the same
        torch.manual_seed(torch.initial_seed() + ranks.rank())
    position = resume.restore(**state)
    start, history = position.step, position.history
    descend = Descent(
        model=model, criterion=criterion, optimizer=optimizer, accelerator=accelerator, clip=clip, count=count
    )
    try:
        with watch.following(history), progress_bar(label, total=steps, done=start) as advance, _all_held() as held:
            for step, divided in enumerate(_several(batches(start), parts), start=start):
                with _held() as pressed:
                    told = descend(divided, step)
                    history.append({SKIPPED: 1.0} if told is None else told[0])
                    if told is None:
                        _refuse_runaway(model, step)
                        _report(step, photos(step), history, limit=max_bad_steps)
                    watch.step(model, step + 1, terms=history[-1], rate=_rate(optimizer, scheduler))
                    _next_rate(scheduler)
                if ranks.any_of(bool(pressed or held)):
                    raise KeyboardInterrupt
                advance(math.nan if told is None else told[1])
                if save_every and (step + 1) % save_every == 0 and step + 1 < steps:
                    resume.save(Position(step + 1, history), **state)
    except KeyboardInterrupt:
        if save_every:
            resume.save(Position(len(history), history), **state)
        raise
    _refuse_divergence(history)
    return history


def _several(batches: Iterable[Batch], parts: int) -> Iterator[list[Batch]]:
    """What comes, so many at a time."""
    source = iter(batches)
    while group := list(islice(source, parts)):
        yield group


@contextmanager
def _held() -> Iterator[list[int]]:
    """Hold Ctrl-C back until the body is done, and tell of it: half a step, once saved, would be done twice."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # there Ctrl-C does not arrive
        yield pressed
        return
    earlier = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, earlier)


def _all_held() -> AbstractContextManager[list[int]]:
    """Of several processes none leaves before the others know: Ctrl-C is held back between steps, too."""
    return nullcontext([]) if ranks.count() == 1 else _held()


def _report(step: int, photos: Sequence[str], history: History, *, limit: int) -> None:
    """Say that a step was skipped. Raises `UserError` where that has happened too often."""
    skipped = sum(SKIPPED in terms for terms in history)
    shown = f" (photos {', '.join(photos)})" if photos else ""
    if skipped > limit:
        before = f", and {limit} steps before were skipped for that" if limit else ""
        raise UserError(f"the loss is not finite at step {step}{shown}{before}: look at these photos' masks, {WAY_OUT}")
    remark(f"step {step} skipped, {skipped} of at most {limit}: its loss or gradient is not finite{shown}")


def _refuse_runaway(model: nn.Module, step: int) -> None:
    """Raises `UserError` where no later step can be better, as the weights themselves are lost."""
    largest = max((float(weights.detach().abs().max()) for weights in model.parameters() if weights.numel()), default=0)
    if not largest <= TOO_LARGE:
        raise UserError(f"training has diverged: before step {step} weights had grown to {largest:.0e}; {WAY_OUT}")


def _refuse_divergence(history: History) -> None:
    learnt = [step for step, terms in enumerate(history) if SKIPPED not in terms]
    since = learnt[-1] + 1 if learnt else 0
    if len(history) - since > 1 or (history and not learnt):
        raise UserError(f"the loss is not finite at step {since} and in all that follow: {WAY_OUT}")


def _rate(optimizer: Optimizer, scheduler: LRScheduler) -> float:
    """The rate of a step as the schedule has it, whatever multiple of it each group of parameters has."""
    most = max(scheduler.base_lrs)
    return float(optimizer.defaults["lr"] * max(scheduler.get_last_lr()) / most) if most else 0.0


def _next_rate(scheduler: LRScheduler) -> None:
    with warnings.catch_warnings():  # a first step that was skipped is no mistake in the order of calls
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        scheduler.step()
