"""What a running step shows: a bar in a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eps.engine import ranks

SHOWN = 20
"""Faults that are said one by one: a file has all."""

console = Console(stderr=True, quiet=not ranks.speaks())


def announce(path: Path, score: float, *, fresh: bool) -> None:
    """Say what a verb has written, or that there was nothing to do: one line."""
    state = "" if fresh else " is up to date"
    shown = f"score {score:.3f}" if math.isfinite(score) else "no score"
    console.print(f"{path.name}: {path}{state} ({shown})", markup=False, emoji=False, highlight=False, soft_wrap=True)


def remark(text: str) -> None:
    """Say something that a run has decided by itself: one line."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def remark_faults(faults: Sequence[str]) -> str:
    """Say the first of several faults, one a line; how many they are, in words."""
    for fault in faults[:SHOWN]:
        remark(fault)
    rest = f" ({len(faults) - SHOWN} more than shown)" if len(faults) > SHOWN else ""
    return f"{len(faults)} fault{'s' * (len(faults) != 1)}{rest}"


@contextmanager
def progress_bar(label: str, *, total: int | None, done: int = 0) -> Iterator[Callable[[float | None], None]]:
    """Yield a function to call after each of `total` steps (None: nobody knows), with the loss where there is one.

    A bar, of 80 columns at most, also shows steps a second, the memory that is taken, and the time that is left.
    """
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=14),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(label, total=total, completed=done, told="")
            began = time.monotonic()

            def advance(loss: float | None) -> None:
                rate = (bar.tasks[task].completed + 1 - done) / max(time.monotonic() - began, 1e-9)
                shown = "" if loss is None else f"loss {loss:.3f} "
                bar.update(
                    task, advance=1, told=f"{shown}{rate:{'.0f' if rate >= 10 else '.2g'}}/s {_memory():.1f} GiB"
                )

            yield advance
    else:
        yield _lines(label, total=total, done=done)


def _memory() -> float:
    """GiB that this process holds: of the GPU where it uses one, else of the machine."""
    reserved = torch.cuda.memory_reserved() if torch.cuda.is_available() else 0
    return (reserved or int(psutil.Process().memory_info().rss)) / 2**30


def _lines(label: str, *, total: int | None, done: int) -> Callable[[float | None], None]:
    count, began, every = done, time.monotonic(), max(1, total // 4) if total else 100

    def advance(loss: float | None) -> None:
        nonlocal count
        count += 1
        if count % every == 0 or count == total:
            shown = "" if loss is None else f"  loss {loss:.3f}"
            of = "" if total is None else f"/{total}"
            console.print(f"{label}: {count}{of}{shown}  {time.monotonic() - began:.0f} s", highlight=False)

    return advance
