"""A tracker follows a run: the same weights with it and without, no step twice after a kill, and no truth."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from eps import evaluate, train_cls, train_seg
from eps.cli import call, compose
from eps.data.artifacts import read_json
from eps.engine.tracking import open_log
from eps.errors import UserError
from eps.schema.runtime import Tracker

pytestmark = pytest.mark.slow

Events = tuple[dict[str, list[tuple[int, float]]], dict[str, list[tuple[int, Image.Image]]]]
KILLED = """
import os, signal
from eps import train_cls
from eps.engine.watch import Watch

follow = Watch.step

def step(self, model, done, **told):
    follow(self, model, done, **told)
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

Watch.step = step
train_cls.main()
"""


def events(folder: Path) -> Events:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    tags = found.Tags()
    pictures = {
        tag: [(e.step, Image.open(BytesIO(e.encoded_image_string))) for e in found.Images(tag)]
        for tag in tags["images"]
    }
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in tags["scalars"]}, pictures


@pytest.fixture
def settings(dataset: Path, finished: Path, tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Of the same run as `finished`, written elsewhere, with the pseudo-masks of that one."""
    shutil.copytree(finished / "pseudo_masks", tmp_path / "run" / "pseudo_masks")
    place = (f"data.root={dataset}", f"run_dir={tmp_path / 'run'}")
    return lambda *more: ("experiment=tiny", *place, "runtime.looks=2", *more)


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_weights_are_the_same_with_a_tracker(
    settings: Callable[..., tuple[str, ...]], finished: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(kind)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    words = settings(f"runtime.tracker={kind}")
    call(train_cls.run, *words)
    call(train_seg.run, *words)
    for name in ("classifier", "segmenter"):
        file = f"{name}/model.safetensors"
        assert (tmp_path / "run" / file).read_bytes() == (finished / file).read_bytes()
        manifest = read_json(tmp_path / "run" / name / "manifest.json")
        steps = [look["step"] for look in manifest["looks"]]
        assert steps == ([2, 4] if name == "classifier" else [1, 2])
        assert (tmp_path / "run" / "tracker" / name).is_dir()
    if kind == "wandb":
        assert len(list((tmp_path / "run" / "tracker").rglob("offline-run-*/*.wandb"))) == 2


def test_tensorboard_gets_losses_rate_looks_scores_and_pictures(
    settings: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    words = settings("runtime.tracker=tensorboard")
    call(train_cls.run, *words)
    numbers, pictures = events(tmp_path / "run" / "tracker" / "classifier")
    history = read_json(tmp_path / "run" / "classifier" / "manifest.json")["history"]
    assert set(numbers) == {"loss/tags", "loss/saliency", "learning_rate", "agreement"}
    assert [step for step, _ in numbers["learning_rate"]] == [1, 2, 3, 4]
    assert [value for _, value in numbers["loss/tags"]] == pytest.approx([terms["tags"] for terms in history])
    assert [step for step, _ in numbers["agreement"]] == [2, 4]
    assert len(pictures) == 4
    assert all(name.startswith("localization maps/val_") for name in pictures)
    assert all([step for step, _ in row] == [2, 4] for row in pictures.values())
    assert all(image.width > 3 * 64 for row in pictures.values() for _, image in row)

    call(train_seg.run, *words)
    numbers, pictures = events(tmp_path / "run" / "tracker" / "segmenter")
    assert {"loss/box", "loss/mask", "learning_rate", "agreement"} <= set(numbers)
    assert all(name.startswith("predictions/val_") for name in pictures)

    call(evaluate.run, *words)
    numbers, _ = events(tmp_path / "run" / "tracker" / "evaluation" / "pseudo_masks")
    scores = read_json(tmp_path / "run" / "evaluation" / "pseudo_masks.json")["splits"]["train"]
    assert numbers["train/miou"] == [(1, pytest.approx(scores["miou"]))]
    assert "train/instances/ap50" in numbers


def test_a_killed_training_goes_on_in_the_same_log(
    settings: Callable[..., tuple[str, ...]], finished: Path, tmp_path: Path
) -> None:
    words = settings("runtime.tracker=tensorboard", "runtime.checkpoint_every=2", "runtime.looks=4")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    call(train_cls.run, *words)
    numbers, pictures = events(tmp_path / "run" / "tracker" / "classifier")
    assert {tag: [step for step, _ in row] for tag, row in numbers.items()} == {tag: [1, 2, 3, 4] for tag in numbers}
    assert all([step for step, _ in row] == [1, 2, 3, 4] for row in pictures.values())
    file = "classifier/model.safetensors"
    assert (tmp_path / "run" / file).read_bytes() == (finished / file).read_bytes()


def test_a_log_that_goes_on_within_the_same_second_is_read_after_the_first(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    first = tmp_path / f"events.out.tfevents.{int(time.time()):010d}.zzz.999999999.0"  # sorts after any of that second
    first.touch()
    log = open_log("tensorboard", tmp_path, done=2, group="run")
    assert log is not None
    log.close()
    assert sorted(tmp_path.glob("events.out.tfevents.*"))[0] == first
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2


def test_a_tracker_that_is_not_installed_is_refused_before_the_first_step(
    settings: Callable[..., tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eps.engine.tracking.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'eps-seg\[wandb\]'"):
        call(train_cls.run, *settings("runtime.tracker=wandb"))
    assert not (tmp_path / "run" / "classifier").exists()


def test_no_tracker_by_default(finished: Path) -> None:
    assert compose().runtime.tracker is Tracker.none
    assert not (finished / "tracker").exists()


def test_pictures_know_no_truth(own_dataset: Path, tmp_path: Path) -> None:
    for kind in ("Class", "Object", "Context"):
        shutil.rmtree(own_dataset / f"Segmentation{kind}")
    words = ("experiment=tiny", "data=folder", f"data.root={own_dataset}", f"run_dir={tmp_path / 'run'}")
    call(train_cls.run, *words, "runtime.looks=1", "runtime.tracker=tensorboard")
    assert len(events(tmp_path / "run" / "tracker" / "classifier")[1]) == 4
