"""What a running step shows: a bar in a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True)


def announce(path: Path, score: float, *, fresh: bool) -> None:
    """Say what a verb has written, or that there was nothing to do: one line."""
    state = "" if fresh else " is up to date"
    shown = f"score {score:.3f}" if math.isfinite(score) else "no score"
    console.print(f"{path.name}: {path}{state} ({shown})", markup=False, emoji=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(label: str, *, total: int, done: int = 0) -> Iterator[Callable[[float | None], None]]:
    """Yield a function to call after each of `total` steps, with the loss where there is one."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
        )
        with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task(label, total=total, completed=done, loss="")
            yield lambda loss: bar.update(task, advance=1, loss="" if loss is None else f"loss {loss:.3f}")
    else:
        yield _lines(label, total=total, done=done)


def _lines(label: str, *, total: int, done: int) -> Callable[[float | None], None]:
    count, began, every = done, time.monotonic(), max(1, total // 4)

    def advance(loss: float | None) -> None:
        nonlocal count
        count += 1
        if count % every == 0 or count == total:
            shown = "" if loss is None else f"  loss {loss:.3f}"
            console.print(f"{label}: {count}/{total}{shown}  {time.monotonic() - began:.0f} s", highlight=False)

    return advance
