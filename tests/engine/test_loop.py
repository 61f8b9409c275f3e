import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from eps.engine.checkpoint import ResumeFile
from eps.engine.descent import Losses
from eps.engine.loop import History, train
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
    max_bad_steps: int = 0,
    precision: str = "no",
    accelerator: Accelerator | None = None,
) -> tuple[nn.Module, History]:
    model = network() if model is None else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    history = train(
        model=model,
        criterion=criterion,
        batches=batches,
        optimizer=optimizer,
        scheduler=LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        accelerator=accelerator or Accelerator(cpu=True, mixed_precision=precision),
        steps=STEPS,
        clip=clip,
        resume=ResumeFile(folder / "resume.pt", fingerprint=fingerprint),
        save_every=save_every,
        label="test",
        max_bad_steps=max_bad_steps,
        photos=lambda step: [f"photo{step}", "other"],
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


def bad(*steps: int, value: float = float("nan")) -> Criterion:
    """Squares, but at these steps a loss that is no number, or infinite."""

    def explodes(model: nn.Module, batch: Tensor, step: int) -> Losses:
        losses = squares(model, batch, step)
        return losses._replace(total=losses.total * value) if step in steps else losses

    return explodes


@pytest.mark.parametrize("weight", [1e7, float("inf"), float("nan")])
def test_weights_that_have_run_away_end_the_run_at_once(tmp_path: Path, weight: float) -> None:
    """However many bad steps are allowed: no later one can be better."""
    model, seen = network(), []

    def runs_away(model: nn.Module, batch: Tensor, step: int) -> Losses:
        seen.append(step)
        losses = squares(model, batch, step)
        if step == 2:
            with torch.no_grad():
                next(model.parameters())[0, 0] = weight
            return losses._replace(total=losses.total * float("nan"))
        return losses

    with pytest.raises(UserError, match=r"diverged: before step 2 weights had grown to .*lower the learning rate"):
        fit(tmp_path, model=model, criterion=runs_away, max_bad_steps=100)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite(tmp_path: Path, value: float) -> None:
    with pytest.raises(UserError, match=r"not finite at step 2 \(photos photo2, other\): .*optim\.lr.*optim\.clip"):
        fit(tmp_path, criterion=bad(2, value=value), save_every=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("first", [0, 2])
def test_a_skipped_step_changes_nothing_but_the_rate(
    tmp_path: Path, first: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Running statistics neither, though the forward pass has moved them; nor does a batch that is no number."""

    def poisoned(model: nn.Module, batch: Tensor, step: int) -> Losses:
        return squares(model, batch * float("nan") if step == first else batch, step)

    states: list[dict[str, Tensor]] = []

    def watched(model: nn.Module, batch: Tensor, step: int) -> Losses:
        states.append({key: value.clone() for key, value in model.state_dict().items()})
        return poisoned(model, batch, step)

    model, history = fit(tmp_path, criterion=watched, max_bad_steps=1)
    assert all(torch.equal(states[first][key], states[first + 1][key]) for key in states[0])
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert [terms == {"skipped": 1.0} for terms in history] == [step == first for step in range(STEPS)]
    told = " ".join(capsys.readouterr().err.split())
    assert f"step {first} skipped, 1 of at most 1: its loss or gradient is not finite (photos photo{first}, " in told
    rates = [1 / (1 + step) for step in range(STEPS)]
    expected = network().train()
    optimizer = torch.optim.AdamW(expected.parameters(), lr=0.1)
    for step, batch in enumerate(batches(0)):
        if step == first:
            torch.nn.functional.dropout(torch.zeros(4, 4), 0.3)  # the skipped pass has drawn, too
            continue
        optimizer.param_groups[0]["lr"] = 0.1 * rates[step]
        optimizer.zero_grad()
        expected(batch).pow(2).mean().backward()
        optimizer.step()
    for one, two in zip(model.state_dict().values(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two)


def test_a_gradient_that_is_not_finite_is_skipped(tmp_path: Path) -> None:
    """A root at zero: the loss is finite, its slope is not."""

    def rooted(model: nn.Module, batch: Tensor, step: int) -> Losses:
        losses = squares(model, batch, step)
        return losses._replace(total=losses.total + (0 * losses.total).sqrt()) if step == 3 else losses

    model, history = fit(tmp_path, criterion=rooted, max_bad_steps=1)
    assert history[3] == {"skipped": 1.0}
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_the_limit_is_of_the_whole_run(tmp_path: Path) -> None:
    criterion = bad(1, 3, 4)
    assert len(fit(tmp_path, criterion=criterion, max_bad_steps=3)[1]) == STEPS
    with pytest.raises(UserError, match=r"at step 4 .*, and 2 steps before were skipped"):
        fit(tmp_path, criterion=criterion, max_bad_steps=2)
    stopped = interrupted(at=4, criterion=criterion)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, criterion=stopped, max_bad_steps=2, save_every=100)
    with pytest.raises(UserError, match="at step 4 "):
        fit(tmp_path, criterion=criterion, max_bad_steps=2, save_every=100)


def test_a_run_that_ends_in_skipped_steps_has_diverged(tmp_path: Path) -> None:
    """One at the end may be chance."""
    assert len(fit(tmp_path, criterion=bad(STEPS - 1), max_bad_steps=5)[1]) == STEPS
    with pytest.raises(UserError, match=r"not finite at step 4 and in all that follow: .*optim\.lr"):
        fit(tmp_path, criterion=bad(1, 4, 5), max_bad_steps=5)
    with pytest.raises(UserError, match="not finite at step 0 and in all that follow"):
        fit(tmp_path, criterion=bad(*range(STEPS)), max_bad_steps=STEPS)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_resumed_run_with_skipped_steps_equals_an_uninterrupted_one(tmp_path: Path, at: int) -> None:
    (tmp_path / "once").mkdir()
    expected, losses = fit(tmp_path / "once", criterion=bad(1, 2), max_bad_steps=2)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, criterion=interrupted(at=at, criterion=bad(1, 2)), max_bad_steps=2, save_every=1)
    torch.manual_seed(99)
    model, history = fit(tmp_path, model=network(7), criterion=bad(1, 2), max_bad_steps=2, save_every=1)
    assert equal(model, expected)
    assert history == losses


def test_losses_are_float32_at_half_precision(tmp_path: Path) -> None:
    """The network runs in bf16; what it gives and what is made of that is float32."""
    inside, outside = [], []

    class Watching(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            made = super().forward(input)
            inside.append(made.dtype)
            return made

    def criterion(model: nn.Module, batch: Tensor, step: int) -> Losses:
        found = model(batch)
        outside.extend([found.dtype, (found @ found.T).dtype])
        return Losses(total=found.pow(2).mean(), terms={})

    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        fit(tmp_path, model=Watching(3, 4), criterion=criterion, precision="bf16")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert set(inside) == {torch.bfloat16}
    assert set(outside) == {torch.float32}


def test_the_state_of_fp16s_scaler_is_resumed(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = scaler
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, criterion=interrupted(at=4), save_every=100, accelerator=accelerator)
    state = scaler.state_dict()
    assert state["scale"] == 16.0
    content: dict[str, Any] = torch.load(tmp_path / "resume.pt", weights_only=True)
    assert content["parts"]["scaler"] == state
    other = Accelerator(cpu=True)
    other.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    model, _ = fit(tmp_path, model=network(7), save_every=100, accelerator=other)
    (tmp_path / "once").mkdir()
    once = Accelerator(cpu=True)
    once.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    expected, _ = fit(tmp_path / "once", accelerator=once)
    assert equal(model, expected)
    assert other.scaler.state_dict() == once.scaler.state_dict()


def test_a_skipped_step_leaves_fp16s_scale_alone(tmp_path: Path) -> None:
    """It is the batch that is spoilt, not the scale that is too large."""
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=100)
    model, history = fit(tmp_path, criterion=bad(2), max_bad_steps=1, accelerator=accelerator)
    assert [terms == {"skipped": 1.0} for terms in history] == [step == 2 for step in range(STEPS)]
    assert accelerator.scaler.get_scale() == 4.0
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
