from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from eps.engine.checkpoint import ResumeFile
from eps.engine.descent import Losses
from eps.engine.loop import train
from eps.engine.watch import UNWATCHED, Look, Watch, spread_over

STEPS = 6
PICTURE = Image.new("RGB", (4, 4))


class Killed(BaseException):
    pass


def batches(start: int) -> Iterator[Tensor]:
    for step in range(start, STEPS):
        yield torch.randn(4, 3, generator=torch.Generator().manual_seed(step))


def network() -> nn.Module:
    """With statistics that a forward pass changes, chance, and a part that never trains."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 2))


def fit(folder: Path, watch: Watch[nn.Module], *, die_at: int = -1) -> tuple[nn.Module, bytes]:
    """A trained network, and what torch would draw next."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def criterion(model: nn.Module, batch: Tensor, step: int) -> Losses:
        if step == die_at:
            raise Killed
        loss = model(batch).pow(2).mean()
        return Losses(total=loss, terms={"squares": loss})

    train(
        model=model,
        criterion=criterion,
        batches=batches,
        optimizer=optimizer,
        scheduler=LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        accelerator=Accelerator(cpu=True),
        steps=STEPS,
        clip=0.0,
        resume=ResumeFile(folder / "resume.pt", fingerprint="same"),
        save_every=2,
        label="test",
        watch=watch,
    )
    return model, torch.get_rng_state().numpy().tobytes()


def curious(model: nn.Module) -> float:
    """A look that does all that it may: runs the network, changes it, and draws at random."""
    assert not model.training
    model.train()
    model(torch.rand(4, 3))
    nn.init.zeros_(model.get_parameter("0.weight"))
    model.to(memory_format=torch.channels_last)
    return 0.5


def test_looking_changes_nothing(tmp_path: Path) -> None:
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - it is that one which must be left alone
    plain, drawn = fit(tmp_path / "plain", UNWATCHED)
    watch = Watch(look=Look(score=curious, pictures=lambda model: ()), at=range(1, STEPS + 1))
    watched, also_drawn = fit(tmp_path / "watched", watch)
    assert len(watch.scores) == STEPS
    assert drawn == also_drawn
    assert watched.training
    for name, value in plain.state_dict().items():
        assert torch.equal(watched.state_dict()[name], value), name
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_looks_are_taken_when_their_step_is_done_and_survive_a_stop(tmp_path: Path) -> None:
    def watch() -> Watch[nn.Module]:
        look = Look[nn.Module](score=lambda model: model.get_parameter("3.bias")[0].item(), pictures=lambda model: ())
        return Watch(look=look, at=[1, 3, 5, 6])

    whole, stopped, resumed = watch(), watch(), watch()
    fit(tmp_path / "whole", whole)
    assert [score["step"] for score in whole.scores] == [1, 3, 5, 6]
    assert len({score["agreement"] for score in whole.scores}) == 4
    with pytest.raises(Killed):
        fit(tmp_path / "stopped", stopped, die_at=5)
    fit(tmp_path / "stopped", resumed)
    assert resumed.scores == whole.scores


def test_a_score_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    watch = Watch[nn.Module](look=Look(score=lambda model: float("nan"), pictures=lambda model: ()), at=[1, 2])
    fit(tmp_path, watch)
    assert watch.scores == []


def test_times() -> None:
    assert spread_over(1000, times=4) == [250, 500, 750, 1000]
    assert spread_over(3, times=8) == [1, 2, 3]
    assert spread_over(10, times=0) == []
