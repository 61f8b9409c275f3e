"""`eps.doctor` on the tiny set: a page without a mark where all is well, marked lines where it is not."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps import doctor
from eps.engine import memory

Command = Callable[..., tuple[int, str]]
Page = Callable[..., tuple[int, str]]
RECIPE = "the package rembg is not installed: pip install 'rembg[cpu]'"

pytestmark = pytest.mark.slow


@pytest.fixture
def page(command: Command, own_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Exit code and the printed page for a copy of the tiny set."""
    printed: list[str] = []
    monkeypatch.setitem(sys.modules, "rembg", None)
    monkeypatch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))

    def run(*settings: str) -> tuple[int, str]:
        printed.clear()
        places = (f"data.root={own_dataset}", f"data.index={own_dataset}.index")
        code, _ = command(doctor.main, "experiment=tiny", "data=folder", *places, *settings)
        return code, "\n".join(printed)

    return run


def test_all_is_well(page: Page, own_dataset: Path) -> None:
    before = sorted(own_dataset.rglob("*"))
    code, told = page("saliency=rembg")  # which is not needed: there are maps
    assert code == 0
    assert sorted(own_dataset.rglob("*")) == before
    assert not Path("runs").exists()
    lines = told.splitlines()
    assert not [line for line in lines if line.startswith("!")]
    assert len(lines) <= 24
    topics = [line[2:11].strip() for line in lines if line[2:11].strip()]
    assert topics == ["software", "extras", "device", "data", "tags", "saliency", "stage 1", "stage 2", "stage 3"]
    assert "5 classes; photos: 12 in train, 4 in val" in told
    assert "4 steps of" in told
    assert "12 photos of" in told
    assert "(for 64x64 px)" in told


def test_maps_and_tags_that_do_not_agree(page: Page, own_dataset: Path) -> None:
    listed = json.loads((own_dataset / "image_labels.json").read_text())
    train = (own_dataset / "ImageSets/Segmentation/train.txt").read_text().split()
    for photo in train[:4]:
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(own_dataset / f"SALImages/{photo}.png")
    listed["labels"][train[5]] = []
    listed["classes"].append("zebra")
    (own_dataset / "image_labels.json").write_text(json.dumps(listed))
    code, told = page()
    assert code == 2
    assert f"! {'':<9} 4 photos have tags, but a blank map: {', '.join(train[:3])}, ..." in told
    assert f"  {'':<9} 1 photos have no tag, but something salient: {train[5]}" in told
    assert f"! {'':<9} zebra: no training photo has it" in told
    assert "error: 2 problems: the lines that begin with !" in told
    assert "stage 3" in told  # nothing hides the rest


def test_faults_of_files(page: Page, own_dataset: Path) -> None:
    (own_dataset / "JPEGImages/train_00001.jpg").write_bytes(b"no picture")
    (own_dataset / "SALImages/train_00002.png").unlink()
    code, told = page()
    assert code == 2
    assert told.count("! ") == 2
    assert "train_00001.jpg cannot be read as an image" in told
    assert "1 of 12 photos have no saliency map" in told
    assert "stage 1  " not in told  # it would not start
    assert RECIPE not in told, "no network is asked for"
    code, told = page("saliency=rembg")
    assert (code, told.count("! "), f"! saliency  saliency=rembg: {RECIPE}" in told) == (2, 2, True)
    assert "1 of 12 photos have no saliency map" not in told
    code, told = page("data.on_error=skip")
    assert code == 0
    assert "10 photos of" in told


def test_no_dataset(page: Page, own_dataset: Path) -> None:
    code, told = page("data.root=nowhere")
    assert code == 2
    assert "! data      data.root=nowhere: no such folder" in told
    code, told = page("data=railroad", "data.root=runs/data/none")
    assert code == 0
    assert "not generated yet" in told
    assert not Path("runs/data/none").exists()
    for settings, expected in (
        (["saliency=rembg"], f"saliency=rembg: {RECIPE}"),
        (["saliency=u2net", "saliency.model=none.onnx"], "saliency.model=none.onnx: no such file"),
    ):
        code, told = page("data=railroad", "data.root=runs/data/none", *settings)
        assert (code, f"! saliency  {expected}" in told) == (2, True), told


def test_what_does_not_fit(page: Page) -> None:
    code, told = page("runtime.memory_limit=0.001")
    assert code == 2
    assert "! stage 1   a step needs" in told
    assert "! stage 2   a photo of 64x64 px needs" in told
    assert "! stage 3   a step needs" in told


def test_networks_that_nobody_can_count(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise NotImplementedError

    monkeypatch.setattr(memory, "_pass_bytes", fail)
    code, told = page()
    assert code == 0
    assert "an unknown amount of memory" in told


@pytest.mark.usefixtures("quick_deeplab")
def test_deeplab_and_cam(page: Page) -> None:
    code, told = page("classifier=cam", "segmenter=deeplab", "segmenter.batch=2", "segmenter.steps=3")
    assert code == 0
    assert "saliency" not in told.replace("saliency, sweep", "")
    assert "3 steps of" in told
