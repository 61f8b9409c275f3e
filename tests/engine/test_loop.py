import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from eps.engine.checkpoint import ResumeFile
from eps.engine.loop import History, Losses, train
from eps.errors import UserError

STEPS = 6
Criterion = Callable[[nn.Module, Tensor, int], Losses]


def batches(start: int) -> Iterator[Tensor]:
    for step in range(start, STEPS):
        yield torch.randn(4, 3, generator=torch.Generator().manual_seed(step))


def squares(model: nn.Module, batch: Tensor, step: int) -> Losses:
    loss = model(batch).pow(2).mean()
    return Losses(total=loss, terms={"loss": loss, "step": torch.tensor(float(step))})


def network(seed: int = 0) -> nn.Module:
    """With statistics that a forward pass changes, and chance."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 2))


def fit(
    folder: Path,
    *,
    criterion: Criterion = squares,
    model: nn.Module | None = None,
    save_every: int = 0,
    clip: float = 0.0,
    fingerprint: str = "same",
) -> tuple[nn.Module, History]:
    model = network() if model is None else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    history = train(
        model=model,
        criterion=criterion,
        batches=batches,
        optimizer=optimizer,
        scheduler=LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        accelerator=Accelerator(cpu=True),
        steps=STEPS,
        clip=clip,
        resume=ResumeFile(folder / "resume.pt", fingerprint=fingerprint),
        save_every=save_every,
        label="test",
    )
    return model, history


def equal(model: nn.Module, other: nn.Module) -> bool:
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_equals_plain_torch(tmp_path: Path, clip: float) -> None:
    trained, history = fit(tmp_path, clip=clip)
    model = network().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    losses = []
    for step, batch in enumerate(batches(0)):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + step)
        optimizer.zero_grad()
        loss = model(batch).pow(2).mean()
        loss.backward()
        if clip:
            norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
            assert norm > clip
            for p in model.parameters():
                assert p.grad is not None
                p.grad.mul_(clip / (norm + 1e-6))
        optimizer.step()
        losses.append(loss.item())
    for trained_p, p in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(trained_p, p)
    assert [terms["loss"] for terms in history] == pytest.approx(losses)
    assert [terms["step"] for terms in history] == list(range(STEPS))


def test_model_trains_in_training_mode(tmp_path: Path) -> None:
    model, _ = fit(tmp_path, model=network().eval())
    assert model.training


def test_nothing_is_written_unless_asked(tmp_path: Path) -> None:
    fit(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, criterion=interrupted(at=2))
    assert list(tmp_path.iterdir()) == []


def interrupted(*, at: int, press: Callable[[], None] | None = None, criterion: Criterion = squares) -> Criterion:
    def stops(model: nn.Module, batch: Tensor, step: int) -> Losses:
        if step == at and press is None:
            raise KeyboardInterrupt
        losses = criterion(model, batch, step)
        if step == at and press is not None:
            press()
        return losses

    return stops


@pytest.mark.parametrize("at", [0, 1, 3, 5])
@pytest.mark.parametrize("save_every", [1, 2, 100])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, at: int, save_every: int) -> None:
    (tmp_path / "once").mkdir()
    expected, losses = fit(tmp_path / "once")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, criterion=interrupted(at=at), save_every=save_every)
    torch.manual_seed(99)  # another process starts elsewhere
    model, history = fit(tmp_path, model=network(7), save_every=save_every)
    assert equal(model, expected)
    assert history == losses


@pytest.mark.parametrize("at", [0, 2, 5])
def test_control_c_waits_for_the_step_to_end(tmp_path: Path, at: int) -> None:
    """Pressed after the forward pass, which has already moved the running statistics."""
    (tmp_path / "once").mkdir()
    expected, losses = fit(tmp_path / "once")
    press = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, criterion=interrupted(at=at, press=press), save_every=100)
    assert signal.getsignal(signal.SIGINT) is before
    seen: list[int] = []

    def counts(model: nn.Module, batch: Tensor, step: int) -> Losses:
        seen.append(step)
        return squares(model, batch, step)

    model, history = fit(tmp_path, model=network(7), criterion=counts, save_every=100)
    assert seen == list(range(at + 1, STEPS))
    assert equal(model, expected)
    assert history == losses


def test_killed_run_goes_on_from_its_last_state(tmp_path: Path) -> None:
    def killed(model: nn.Module, batch: Tensor, step: int) -> Losses:
        if step == 5:
            raise MemoryError
        return squares(model, batch, step)

    with pytest.raises(MemoryError):
        fit(tmp_path, criterion=killed, save_every=2)
    content: dict[str, Any] = torch.load(tmp_path / "resume.pt", weights_only=True)
    assert content["step"] == len(content["history"]) == 4
    (tmp_path / "once").mkdir()
    expected, _ = fit(tmp_path / "once")
    assert equal(fit(tmp_path, model=network(7))[0], expected)


def test_no_state_of_a_finished_run(tmp_path: Path) -> None:
    """The last step's state would be of no use: what is trained is written by the caller."""
    fit(tmp_path, save_every=STEPS)
    assert list(tmp_path.iterdir()) == []


def test_changed_recipe_starts_afresh(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, criterion=interrupted(at=3), save_every=1)
    (tmp_path / "once").mkdir()
    expected, _ = fit(tmp_path / "once")
    assert equal(fit(tmp_path, fingerprint="other")[0], expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite(tmp_path: Path, value: float) -> None:
    def explodes(model: nn.Module, batch: Tensor, step: int) -> Losses:
        loss = model(batch).mean() * (value if step == 2 else 1.0)
        return Losses(total=loss, terms={})

    with pytest.raises(UserError, match=r"not finite at step 2: .*optim\.lr.*optim\.clip"):
        fit(tmp_path, criterion=explodes, save_every=100)
    assert list(tmp_path.iterdir()) == []
