"""Stage 2 that is stopped goes on where it was, photo by photo, and what has changed is made anew."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from eps import mask_labels, pseudo_masks, stored_maps
from eps.cli import call
from eps.data.artifacts import read_json, read_mask, write_json
from eps.data.railroad import CLASSES

pytestmark = pytest.mark.slow

Contents = dict[str, str]


class Stopped(Exception):
    pass


class Meter:
    """Counts calls of a function of the verb, and stops the run at the one asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, *, module: ModuleType = pseudo_masks) -> None:
        self.calls, self.stop_at = 0, -1
        self.function: Callable[..., Any] = getattr(module, name)
        monkeypatch.setattr(module, name, self)

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        if self.calls == self.stop_at:
            raise Stopped
        self.calls += 1
        return self.function(*arguments, **more)

    def since(self) -> int:
        calls, self.calls, self.stop_at = self.calls, 0, -1
        return calls


class Stage:
    """Stage 2 on a run that has a classifier alone, on a dataset of 12 photos that may be changed."""

    def __init__(self, root: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.run = root, run
        self.maps = Meter(monkeypatch, "localize_together", module=stored_maps)
        self.masks = Meter(monkeypatch, "refined_labels", module=mask_labels)

    def __call__(self, *overrides: str) -> tuple[int, int]:
        """How many photos were localized and labelled."""
        call(
            pseudo_masks.run,
            *("experiment=tiny", "data=folder", f"data.root={self.root}", f"run_dir={self.run}"),
            *("pseudo_masks=crf", "pseudo_masks.threshold=0.3", *overrides),
        )
        return self.maps.since(), self.masks.since()

    def stop(self, meter: Meter, at: int, *overrides: str) -> None:
        meter.stop_at = at
        with pytest.raises(Stopped):
            self(*overrides)
        for each in (self.maps, self.masks, meter):
            each.since()
        assert {path.name for path in self.run.iterdir()} == {"classifier", "pseudo_masks.resume"}

    def content(self) -> Contents:
        folder = self.run / "pseudo_masks"
        return {
            str(path.relative_to(folder)): path.read_bytes().hex()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "run.json"
        }


@pytest.fixture
def stage(own_dataset: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    shutil.copytree(finished / "classifier", tmp_path / "run" / "classifier")
    content = read_json(own_dataset / "image_labels.json")
    content["labels"] |= {photo: [CLASSES[0]] for photo, tags in content["labels"].items() if not tags}
    write_json(own_dataset / "image_labels.json", content)
    return Stage(own_dataset, tmp_path / "run", monkeypatch)


def test_goes_on_and_makes_the_same(stage: Stage) -> None:
    """Stopped while localizing, then while labelling; no photo is done twice, and no trace is left."""
    assert stage() == (12, 12)
    expected = stage.content()
    assert stage() == (0, 0)
    shutil.rmtree(stage.run / "pseudo_masks")
    stage.stop(stage.maps, 5)
    stage.stop(stage.masks, 8)
    assert stage() == (0, 4)
    assert stage.content() == expected
    assert {path.name for path in stage.run.iterdir()} == {"classifier", "pseudo_masks"}


def test_stopped_at_the_last_moment(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Meter(monkeypatch, "write_instances")
    stage.stop(writer, 0)
    assert stage() == (0, 0)
    assert len(list((stage.run / "pseudo_masks" / "masks").iterdir())) == 12


def test_scores_outlive_another_way_to_label(stage: Stage) -> None:
    stage.stop(stage.masks, 8)
    assert stage("pseudo_masks.threshold=0.4") == (0, 12)
    assert read_json(stage.run / "pseudo_masks" / "manifest.json")["threshold"] == 0.4


def test_kept_scores_are_those_of_both_runs(stage: Stage) -> None:
    stage.stop(stage.maps, 5)
    assert stage("pseudo_masks.save_scores=true") == (7, 12)
    assert len(list((stage.run / "pseudo_masks" / "scores").glob("*.npz"))) == 12


def test_another_photo_is_done_again_alone(stage: Stage) -> None:
    stage.stop(stage.masks, 11)
    Image.new("RGB", (64, 64), (9, 99, 200)).save(stage.root / "JPEGImages" / "train_00003.jpg")
    maps, masks = stage()
    assert (maps, masks) == (1, 2)


def test_other_tags_are_done_again_alone(stage: Stage) -> None:
    stage.stop(stage.masks, 11)
    content = read_json(stage.root / "image_labels.json")
    content["labels"]["train_00003"] = list(CLASSES)
    write_json(stage.root / "image_labels.json", content)
    assert stage() == (1, 2)


@pytest.mark.parametrize("override", ["pseudo_masks.scales=[0.5]", "pseudo_masks.flip=false"])
def test_other_maps_are_all_made_again(stage: Stage, override: str) -> None:
    stage.stop(stage.masks, 11)
    assert stage(override) == (12, 12)


@pytest.mark.parametrize("choice", ["crf", "crf_alpha4", "crf_alpha16", "crf_deeplab", "crf_torch", "default"])
def test_photo_without_a_tag_is_background(stage: Stage, choice: str) -> None:
    content = read_json(stage.root / "image_labels.json")
    content["labels"]["train_00003"] = []
    write_json(stage.root / "image_labels.json", content)
    stage(f"pseudo_masks={choice}")
    masks = stage.run / "pseudo_masks" / "masks"
    assert not read_mask(masks / "train_00003.png").any()
    assert any(read_mask(path).any() for path in masks.iterdir())


def test_a_crf_with_alpha_needs_neither_threshold_nor_saliency(stage: Stage) -> None:
    for path in (stage.root / "SALImages").iterdir():
        path.unlink()
    stage("pseudo_masks=crf_alpha4", "pseudo_masks.threshold=auto")
    manifest = read_json(stage.run / "pseudo_masks" / "manifest.json")
    assert manifest["threshold"] is manifest["threshold_curve"] is None


def test_in_torch_labels_are_the_same(stage: Stage) -> None:
    assert stage("pseudo_masks=crf") == (12, 12)
    expected = {name: mask for name, mask in stage.content().items() if name.endswith(".png")}
    assert stage("pseudo_masks=crf_torch") == (12, 12)
    found = {name: mask for name, mask in stage.content().items() if name.endswith(".png")}
    assert list(found) == list(expected)
    assert sum(found[name] == mask for name, mask in expected.items()) >= 11
    config = read_json(stage.run / "pseudo_masks" / "manifest.json")["config"]
    assert config["crf"] == "torch"
