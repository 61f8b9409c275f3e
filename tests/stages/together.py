"""One of the processes that `torchrun` starts in `test_ranks`: verbs and checks, in the order of the arguments.

An argument is a list in JSON: the name of a verb and its settings, or the name of a check below and a folder. The
environment variable KILL_AT names a step of train_cls at which rank 1 is killed.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from eps import train_cls
from eps.cli import call
from eps.engine import ranks
from eps.engine.checkpoint import ResumeFile
from eps.engine.descent import Losses
from eps.engine.loop import SKIPPED, History, train

STEPS = 5


class Network(nn.Module):
    """With a part that nothing uses, and one that the criterion uses from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.outside = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(2, 1)

    def forward(self, batch: Tensor) -> Tensor:
        made: Tensor = self.used(batch)
        return made


def batches(start: int) -> Iterator[Tensor]:
    """Of eight rows, some of which count double: of other processes other rows."""
    size = 8 // ranks.count()
    for step in range(start, STEPS):
        rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        yield rows[ranks.rank() * size :][:size]


def doubles(batch: Tensor) -> Tensor:
    return (1.0 + (batch[:, 0] > 0)).sum()[None]


def fit(folder: Path, *, bad: int = -1, press: int = -1) -> tuple[Network, History]:
    """Training whose loss is not finite on the last process at step `bad`, and Ctrl-C there at step `press`."""
    torch.manual_seed(0)
    model = Network()
    last = ranks.rank() == ranks.count() - 1

    def criterion(scored: nn.Module, batch: Tensor, step: int, counted: Tensor | None = None) -> Losses:
        if last and step == press:
            signal.raise_signal(signal.SIGINT)
        weights = 1.0 + (batch[:, 0] > 0)
        loss = (model.outside(scored(batch)).pow(2)[:, 0] * weights).sum() / (
            doubles(batch)[0] if counted is None else counted[0]
        )
        return Losses(total=loss * (float("nan") if last and step == bad else 1), terms={"loss": loss})

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, weight_decay=0.1)
    history = train(
        model=model,
        criterion=criterion,
        batches=batches,
        optimizer=optimizer,
        scheduler=LambdaLR(optimizer, lambda step: 1.0),
        accelerator=Accelerator(cpu=True),
        steps=STEPS,
        clip=0.0,
        resume=ResumeFile(folder / "resume.pt", fingerprint="same"),
        save_every=100 if press >= 0 else 0,
        label="together",
        max_bad_steps=1,
        count=doubles,
    )
    return model, history


def check_training(folder: Path) -> None:
    """Skipped steps, unused parts and Ctrl-C on one process alone."""
    model, history = fit(folder)
    told = [{name: value.tolist() for name, value in model.state_dict().items()}, history]
    assert ranks.gathered(told) == [told] * ranks.count()
    skipped = fit(folder, bad=2)[1]
    assert [SKIPPED in terms for terms in skipped] == [step == 2 for step in range(STEPS)]
    with pytest.raises(KeyboardInterrupt):
        fit(folder, press=1)
    ranks.wait()
    stopped = torch.load(folder / "resume.pt", weights_only=True)["step"]
    assert 2 <= stopped <= 3
    resumed, whole = fit(folder)
    assert [resumed.state_dict()[name].tolist() for name in told[0]] == list(told[0].values())
    assert whole == history
    if ranks.rank() == 0:
        (folder / "training.json").write_text(json.dumps(told))


def check_ranks(folder: Path) -> None:
    """Who knows what after each way of talking to each other."""
    rank, count = ranks.rank(), ranks.count()
    assert count == 2
    assert ranks.gathered(rank) == [0, 1]
    assert ranks.collected(rank) == ([0, 1] if rank == 0 else [])
    assert ranks.mean(torch.tensor([float(rank), 4.0])).tolist() == [0.5, 4.0]
    assert ranks.any_of(rank == 1)
    assert not ranks.any_of(False)
    assert ranks.own([1, 2, 3]) == ([1, 3] if rank == 0 else [2])
    assert ranks.on_main(lambda: ranks.rank()) == 0
    assert ranks.label() == f"rank {rank}: "
    with pytest.raises(ZeroDivisionError if rank == 0 else SystemExit):
        ranks.on_main(lambda: 1 // 0)
    assert ranks.on_main(lambda: 7) == 7
    ranks.on_main(lambda: (folder / "shared").mkdir())
    (folder / "shared" / str(rank)).touch()
    ranks.wait()
    assert len(list((folder / "shared").iterdir())) == 2


def kill_at(step: int) -> None:
    criterion = train_cls._criterion

    def killed(*arguments: Any, **settings: Any) -> Losses:
        if arguments[-1] == step and ranks.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return criterion(*arguments, **settings)

    train_cls._criterion = killed


def main(jobs: Sequence[str]) -> None:
    if "KILL_AT" in os.environ:
        kill_at(int(os.environ["KILL_AT"]))
    ranks.join(device="cpu")
    for job in jobs:
        name, *settings = json.loads(job)
        if name.startswith("check_"):
            globals()[name](Path(*settings))
        else:
            call(import_module(f"eps.{name}").run, *settings)
    ranks.leave()


if __name__ == "__main__":
    main(sys.argv[1:])
