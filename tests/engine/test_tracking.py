from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.tracking import GeneralTracker
from PIL import Image
from torch import nn

from eps.engine.tracking import Log, demand_tracker, open_log
from eps.engine.watch import Look, Watch
from eps.errors import UserError

RED = Image.new("RGB", (6, 4), (250, 10, 10))


class Recording(GeneralTracker):
    name = "recording"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__(_blank=True)
        self.numbers: list[tuple[int | None, dict[str, float]]] = []
        self.pictures: list[tuple[int | None, str]] = []
        self.closed = False

    def log(self, values: dict[str, float], step: int | None = None, **kwargs: Any) -> None:
        self.numbers.append((step, values))

    def log_images(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.pictures += [(step, name) for name in values]

    def finish(self) -> None:
        self.closed = True


def watch(tracker: Recording, *, known: int) -> Watch[nn.Module]:
    look = Look[nn.Module](score=lambda model: 0.5, pictures=lambda model: [("a", RED)])
    return Watch(look=look, at=[2, 4], open_log=lambda done: Log(tracker, known=known))


def step(watched: Watch[nn.Module], done: int) -> None:
    watched.step(nn.Linear(1, 1), done, terms={"squares": float(done)}, rate=0.25)


def test_steps_looks_and_the_end_are_logged() -> None:
    tracker = Recording()
    watched = watch(tracker, known=0)
    with watched.following([]):
        step(watched, 1)
        step(watched, 2)
        assert not tracker.closed
    assert tracker.closed
    assert tracker.numbers == [
        (1, {"loss/squares": 1.0, "learning_rate": 0.25}),
        (2, {"loss/squares": 2.0, "learning_rate": 0.25, "agreement": 0.5}),
    ]
    assert tracker.pictures == [(2, "a")]


@pytest.mark.parametrize(("known", "again"), [(0, [1, 2]), (1, [2]), (2, []), (3, [])])
def test_a_log_that_has_lost_steps_is_told_again_and_one_that_has_them_is_not(known: int, again: list[int]) -> None:
    tracker = Recording()
    watched = watch(tracker, known=known)
    watched.load_state_dict({"scores": [{"step": 2, "agreement": 0.5}]})
    with watched.following([{"squares": 1.0}, {"squares": 2.0}]):
        assert [number for number, _ in tracker.numbers] == again
        if 2 in again:
            assert tracker.numbers[-1] == (2, {"loss/squares": 2.0, "agreement": 0.5})
        step(watched, 3)
        step(watched, 4)
    assert [number for number, _ in tracker.numbers] == [*again, *range(max(3, known + 1), 5)]
    assert tracker.pictures == [(4, "a")]


def scalars(folder: Path) -> tuple[Mapping[str, list[tuple[int, float]]], Mapping[str, list[tuple[int, bytes]]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    tags = found.Tags()
    numbers = {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in tags["scalars"]}
    pictures = {tag: [(e.step, e.encoded_image_string) for e in found.Images(tag)] for tag in tags["images"]}
    return numbers, pictures


def logged(folder: Path, steps: range, *, done: int) -> None:
    log = open_log("tensorboard", folder, done=done, group="run")
    assert log is not None
    for number in steps:
        log.picture("photo", RED, step=number)
        log.numbers({"loss": number / 8}, step=number)
    log.close()


def test_tensorboard_reads_each_step_once_after_a_kill(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = tmp_path / "tracker" / "classifier"
    logged(folder, range(1, 6), done=0)
    logged(folder, range(4, 8), done=3)  # the state was of step 3
    assert len(list(folder.iterdir())) == 2
    numbers, pictures = scalars(folder)
    assert numbers == {"loss": [(number, number / 8) for number in range(1, 8)]}
    assert [number for number, _ in pictures["photo"]] == list(range(1, 8))
    seen = np.asarray(Image.open(BytesIO(pictures["photo"][0][1])))
    assert seen.shape == (4, 6, 3)
    assert seen[0, 0].tolist() == [250, 10, 10]
    logged(folder, range(1, 2), done=0)  # another config: begun anew
    assert scalars(folder)[0] == {"loss": [(1, 0.125)]}


@pytest.mark.parametrize(("kind", "extra"), [("tensorboard", "track"), ("wandb", "wandb")])
def test_a_missing_package_is_named(kind: Any, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("eps.engine.tracking.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"runtime.tracker={kind}: .*pip install 'eps-seg\[{extra}\]'"):
        open_log(kind, tmp_path / "log", done=0, group="run")
    assert not list(tmp_path.iterdir())


def test_an_installed_package_is_taken() -> None:
    pytest.importorskip("tensorboard")
    demand_tracker("tensorboard")
