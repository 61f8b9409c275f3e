"""The log of a training or an evaluation for TensorBoard or Weights & Biases, through accelerate's trackers.

Neither needs a network: Weights & Biases writes to disk alone (`wandb sync` sends it) unless `WANDB_MODE` says more.
"""

import os
import shutil
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker
from PIL import Image

from eps.engine import ranks
from eps.errors import UserError

Kind = Literal["tensorboard", "wandb"]
EXTRAS = {"tensorboard": "track", "wandb": "wandb"}
PROJECT = "eps"
"""Of Weights & Biases, unless `WANDB_PROJECT` names another."""


def demand_tracker(kind: Kind) -> None:
    """Raise `UserError` where the tracker's package is not installed."""
    if find_spec(kind) is None:
        raise UserError(f"runtime.tracker={kind}: {kind} is not installed: pip install 'eps-seg[{EXTRAS[kind]}]'")


class Log:
    """Numbers and pictures by step: each step once, also where a killed run had logged some that are done again.

    The steps up to `known` stand there already: nothing is logged of them.
    """

    def __init__(self, tracker: GeneralTracker, *, known: int) -> None:
        self._tracker, self.known = tracker, known

    def numbers(self, values: Mapping[str, float], *, step: int) -> None:
        """Log numbers of a step (steps that are done)."""
        if step > self.known:
            self._tracker.log(dict(values), step=step)

    def picture(self, name: str, image: Image.Image, *, step: int) -> None:
        """Log an RGB picture; pictures of one name are a row over steps."""
        if step > self.known and isinstance(self._tracker, TensorBoardTracker):
            self._tracker.log_images({name: np.asarray(image)[None]}, step=step, dataformats="NHWC")
        elif step > self.known:
            self._tracker.log_images({name: [image]}, step=step)

    def close(self) -> None:
        """Write down what is left."""
        self._tracker.finish()


def open_log(kind: Kind, folder: Path, *, done: int, group: str) -> Log | None:
    """The log in a folder, after so many steps; with none done, in place of what lies there. None but on rank 0.

    `group` is what Weights & Biases calls the run that this belongs to. Raises `UserError` without the package.
    """
    demand_tracker(kind)
    if ranks.rank():
        return None
    if not done:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return _tensorboard(folder, done=done) if kind == "tensorboard" else _wandb(folder, group=group)


def _tensorboard(folder: Path, *, done: int) -> Log:
    """Readers are told to forget what a killed run had logged of later steps."""
    _await_a_later_name(folder)
    tracker = TensorBoardTracker(folder.name, folder.parent, purge_step=done + 1 if done else None)
    tracker.start()
    return Log(tracker, known=done)


def _await_a_later_name(folder: Path) -> None:
    """Readers take event files by name, which tells seconds and then the process: wait for the next second."""
    newest = max((int(file.name.split(".")[3]) for file in folder.glob("events.out.tfevents.*")), default=0)
    while int(time.time()) == newest:
        time.sleep(0.02)


def _wandb(folder: Path, *, group: str) -> Log:
    """On disk begun anew, as nobody can tell what of a killed run's file was written; online, where the server is."""
    import wandb

    mode, name = os.environ.get("WANDB_MODE", "offline"), folder / "id"
    if mode == "offline":
        shutil.rmtree(folder / "wandb", ignore_errors=True)
    if not name.is_file():
        name.write_text(uuid4().hex[:12], encoding="utf-8")
    tracker = WandBTracker(
        os.environ.get("WANDB_PROJECT", PROJECT),
        id=name.read_text(encoding="utf-8"),
        name=f"{group}/{folder.name}",
        group=group,
        dir=folder,
        resume=None if mode == "offline" else "allow",
        mode=mode,
        settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
    )
    tracker.start()
    return Log(tracker, known=max(0, tracker.tracker.step - 1))
