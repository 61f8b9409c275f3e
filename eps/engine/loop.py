"""The training loop: it knows neither the model nor the loss."""

import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from eps.engine.checkpoint import Position, ResumeFile
from eps.engine.progress import progress_bar, remark
from eps.errors import UserError

Batch = TypeVar("Batch")
History = list[dict[str, float]]
SKIPPED = "skipped"
"""In the history the one term of a step that has changed nothing."""
WAY_OUT = "lower the learning rate (optim.lr) or clip (optim.clip)"


class Losses(NamedTuple):
    """The loss to descend and the terms to write down."""

    total: Float[Tensor, ""]
    terms: Mapping[str, Tensor]


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
) -> History:
    """Train to `steps`, from where `resume` stands, and return the loss terms of every step.

    `batches(start)` yields the batches from step `start` on; `criterion(model, batch, step)` runs the model on one: its
    outputs are float32 whatever the precision, and so are losses. A state to resume from is written every `save_every`
    steps (0: never) and on Ctrl-C, which waits for the step to end. A step whose loss or gradient is not finite leaves
    the model as it was; it is reported with the ids that `photos(step)` gives. Raises `UserError` once there are more
    than `max_bad_steps` of them, or where the run ends in several: it has diverged.
    """
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    if accelerator.scaler is not None:  # of fp16
        parts["scaler"] = accelerator.scaler
    position = resume.restore(**parts)
    start, history = position.step, position.history
    wrapped, driver = accelerator.prepare(model, optimizer)
    wrapped.train()
    try:
        with progress_bar(label, total=steps, done=start) as advance:
            for step, batch in enumerate(batches(start), start=start):
                with _whole():
                    statistics = [buffer.clone() for buffer in model.buffers()]
                    losses = criterion(wrapped, send_to_device(batch, accelerator.device), step)
                    if _descend(losses.total, wrapped, driver, accelerator, clip=clip):
                        history.append({name: float(term.detach()) for name, term in losses.terms.items()})
                    else:
                        _put_back(model, statistics)
                        history.append({SKIPPED: 1.0})
                        _report(step, photos(step), history, limit=max_bad_steps)
                    _next_rate(scheduler)
                advance(losses.total.item())
                if save_every and (step + 1) % save_every == 0 and step + 1 < steps:
                    resume.save(Position(step + 1, history), **parts)
    except KeyboardInterrupt:
        if save_every:
            resume.save(Position(len(history), history), **parts)
        raise
    _refuse_divergence(history)
    return history


@contextmanager
def _whole() -> Iterator[None]:
    """Hold Ctrl-C back until the body is done: half a step, once saved, would be done twice."""
    if threading.current_thread() is not threading.main_thread():  # there Ctrl-C does not arrive
        yield
        return
    pressed: list[int] = []
    earlier = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
    if pressed:
        raise KeyboardInterrupt


def _descend(loss: Tensor, model: nn.Module, optimizer: Optimizer, accelerator: Accelerator, *, clip: float) -> bool:
    """One step down, or none where the loss or a gradient is not finite: then the answer is False."""
    optimizer.zero_grad()
    if not torch.isfinite(loss):
        return False
    accelerator.backward(loss)
    norm = accelerator.clip_grad_norm_(model.parameters(), clip if clip > 0 else math.inf)
    # gradients too large for fp16 are the scaler's business: it leaves the step out and scales less
    if accelerator.scaler is None and norm is not None and not torch.isfinite(norm):
        return False
    optimizer.step()
    return True


def _put_back(model: nn.Module, statistics: Sequence[Tensor]) -> None:
    """What a forward pass has moved: a running mean that is not finite would stay so."""
    with torch.no_grad():
        for buffer, before in zip(model.buffers(), statistics, strict=True):
            buffer.copy_(before)


def _report(step: int, photos: Sequence[str], history: History, *, limit: int) -> None:
    """Say that a step was skipped. Raises `UserError` where that has happened too often."""
    skipped = sum(SKIPPED in terms for terms in history)
    shown = f" (photos {', '.join(photos)})" if photos else ""
    if skipped > limit:
        before = f", and {limit} steps before were skipped for that" if limit else ""
        raise UserError(f"the loss is not finite at step {step}{shown}{before}: look at these photos' masks, {WAY_OUT}")
    remark(f"step {step} skipped, {skipped} of at most {limit}: its loss or gradient is not finite{shown}")


def _refuse_divergence(history: History) -> None:
    learnt = [step for step, terms in enumerate(history) if SKIPPED not in terms]
    since = learnt[-1] + 1 if learnt else 0
    if len(history) - since > 1 or (history and not learnt):
        raise UserError(f"the loss is not finite at step {since} and in all that follow: {WAY_OUT}")


def _next_rate(scheduler: LRScheduler) -> None:
    with warnings.catch_warnings():  # a first step that was skipped is no mistake in the order of calls
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        scheduler.step()
