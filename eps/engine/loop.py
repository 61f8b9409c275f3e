"""The training loop: it knows neither the model nor the loss."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from eps.engine.checkpoint import Position, ResumeFile
from eps.engine.progress import progress_bar
from eps.errors import UserError

Batch = TypeVar("Batch")
History = list[dict[str, float]]


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
) -> History:
    """Train to `steps`, from where `resume` stands, and return the loss terms of every step.

    `batches(start)` yields the batches from step `start` on; `criterion(model, batch, step)` runs the model on one.
    A state to resume from is written every `save_every` steps (0: never) and on Ctrl-C, which waits for the step to
    end. Raises `UserError` for a loss that is not finite.
    """
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    position = resume.restore(**parts)
    start, history = position.step, position.history
    wrapped, driver = accelerator.prepare(model, optimizer)
    wrapped.train()
    try:
        with progress_bar(label, total=steps, done=start) as advance:
            for step, batch in enumerate(batches(start), start=start):
                with _whole():
                    with accelerator.autocast():
                        losses = criterion(wrapped, send_to_device(batch, accelerator.device), step)
                    _descend(losses.total, wrapped, driver, accelerator, clip=clip)
                    scheduler.step()
                    history.append(_written_down(losses, step=step))
                advance(losses.total.item())
                if save_every and (step + 1) % save_every == 0 and step + 1 < steps:
                    resume.save(Position(step + 1, history), **parts)
    except KeyboardInterrupt:
        if save_every:
            resume.save(Position(len(history), history), **parts)
        raise
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


def _descend(loss: Tensor, model: nn.Module, optimizer: Optimizer, accelerator: Accelerator, *, clip: float) -> None:
    optimizer.zero_grad()
    accelerator.backward(loss)
    if clip > 0:
        accelerator.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


def _written_down(losses: Losses, *, step: int) -> dict[str, float]:
    if not torch.isfinite(losses.total):
        raise UserError(
            f"the loss is not finite at step {step}: lower the learning rate (optim.lr) or clip (optim.clip)"
        )
    return {name: float(term.detach()) for name, term in losses.terms.items()}
