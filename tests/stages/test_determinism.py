"""The same seed gives the same bytes, whatever is interrupted, and whichever process does it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from eps import segmenter_tasks, train_cls, train_seg
from eps.cli import call

pytestmark = pytest.mark.slow

Contents = dict[str, str]
REPOSITORY = Path(__file__).parents[2]


def of(artifact: str, contents: Contents) -> Contents:
    return {path: digest for path, digest in contents.items() if path.startswith(f"{artifact}/")}


def test_two_runs_are_equal_byte_by_byte(
    finished: Path, dataset: Path, tmp_path: Path, train: Callable[..., None], contents: Callable[[Path], Contents]
) -> None:
    torch.manual_seed(123)  # what ran before does not matter
    train(dataset, tmp_path / "again")
    made = contents(tmp_path / "again")
    assert made == contents(finished)
    assert len(made) == 2 + 14 + 2
    assert (tmp_path / "again" / "segmenter" / "run.json").is_file()


def test_another_seed_is_another_run(
    finished: Path, dataset: Path, tmp_path: Path, train: Callable[..., None], contents: Callable[[Path], Contents]
) -> None:
    train(dataset, tmp_path / "other", "seed=1")
    made, before = contents(tmp_path / "other"), contents(finished)
    assert made.keys() == before.keys()
    for path in ("classifier/model.safetensors", "pseudo_masks/instances.json", "segmenter/model.safetensors"):
        assert made[path] != before[path]


def test_another_process_makes_the_same(
    finished: Path, dataset: Path, tmp_path: Path, contents: Callable[[Path], Contents]
) -> None:
    """Another order of hashes, photos read ahead by a worker, no checks of shapes."""
    run = tmp_path / "again"
    arguments = ["experiment=tiny", f"data.root={dataset}", f"run_dir={run}", "runtime.workers=1"]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "stages.stage1", *arguments]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    assert contents(run) == of("classifier", contents(finished))


def interrupting(criterion: Callable[..., Any], *, at: int, after: bool) -> Callable[..., Any]:
    """Ctrl-C at a step: before the step's work, or pressed in the middle of it."""

    def wrapped(*arguments: Any, **settings: Any) -> Any:
        step = arguments[-1]
        if step == at and not after:
            raise KeyboardInterrupt
        losses = criterion(*arguments, **settings)
        if step == at:
            signal.raise_signal(signal.SIGINT)
        return losses

    return wrapped


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("verb", "artifact", "home", "criterion", "at"),
    [
        (train_cls, "classifier", train_cls, "_criterion", 2),
        (train_seg, "segmenter", segmenter_tasks, "instance_losses", 1),
    ],
)
def test_interrupted_training_goes_on_to_the_same_weights(
    finished: Path,
    dataset: Path,
    tmp_path: Path,
    contents: Callable[[Path], Contents],
    monkeypatch: pytest.MonkeyPatch,
    verb: ModuleType,
    artifact: str,
    home: ModuleType,
    criterion: str,
    at: int,
    after: bool,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns(artifact, "report", "evaluation"))
    arguments = ("experiment=tiny", f"data.root={dataset}", f"run_dir={run}", "runtime.checkpoint_every=100")
    state = run / f"{artifact}.resume.pt"
    with monkeypatch.context() as patch:
        patch.setattr(home, criterion, interrupting(getattr(home, criterion), at=at, after=after))
        with pytest.raises(KeyboardInterrupt):
            call(verb.run, *arguments)
    assert not (run / artifact).exists()
    assert torch.load(state, weights_only=True)["step"] == at + after
    steps: list[int] = []
    original = getattr(home, criterion)

    def counting(*given: Any, **settings: Any) -> Any:
        steps.append(given[-1])
        return original(*given, **settings)

    monkeypatch.setattr(home, criterion, counting)
    call(verb.run, *arguments)
    assert steps == list(range(at + after, 4 if artifact == "classifier" else 2))
    assert of(artifact, contents(run)) == of(artifact, contents(finished))
    assert not state.exists()


def test_state_of_another_recipe_is_not_taken_up(
    finished: Path,
    dataset: Path,
    tmp_path: Path,
    contents: Callable[[Path], Contents],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ("experiment=tiny", f"data.root={dataset}", f"run_dir={tmp_path}", "runtime.checkpoint_every=1")
    with monkeypatch.context() as patch:
        patch.setattr(train_cls, "_criterion", interrupting(train_cls._criterion, at=3, after=False))
        with pytest.raises(KeyboardInterrupt):
            call(train_cls.run, *arguments, "classifier.optim.lr=0.1")
    assert (tmp_path / "classifier.resume.pt").is_file()
    call(train_cls.run, *arguments)
    assert contents(tmp_path) == of("classifier", contents(finished))


def test_dropout_goes_on_where_it_was_interrupted(
    finished: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_deeplab: None
) -> None:
    """DeepLab's head draws at random in every step."""
    common = ("experiment=tiny", "segmenter=deeplab", f"data.root={dataset}", f"run_dir={finished}")
    arguments = (*common, "runtime.checkpoint_every=100")
    call(train_seg.run, *arguments, f"out_dir={tmp_path / 'whole'}")
    with monkeypatch.context() as patch:
        halting = interrupting(segmenter_tasks.semantic_losses, at=1, after=False)
        patch.setattr(segmenter_tasks, "semantic_losses", halting)
        with pytest.raises(KeyboardInterrupt):
            call(train_seg.run, *arguments, f"out_dir={tmp_path / 'halves'}")
    call(train_seg.run, *arguments, f"out_dir={tmp_path / 'halves'}")
    whole, halves = (tmp_path / run / "segmenter" / "model.safetensors" for run in ("whole", "halves"))
    assert whole.read_bytes() == halves.read_bytes()
