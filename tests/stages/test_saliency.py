"""Saliency maps made where there are none: the verb, and stage 1 with it."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eps import prepare, saliency_maps, train_cls
from eps.cli import call, compose
from eps.data.artifacts import file_hash, read_json
from eps.data.layout import DatasetFolder
from stages import stage1

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str]]
Write = Callable[..., Path]
MEAN = ("saliency=onnx", "saliency.size=[64,64]", "saliency.mean=[0,0,0]", "saliency.std=[1,1,1]")
"""The mean of the channels as saliency: checked against numpy without any resizing."""


@pytest.fixture
def bare(own_dataset: Path) -> Path:
    """A dataset without saliency maps."""
    shutil.rmtree(own_dataset / "SALImages")
    return own_dataset


def settings(root: Path, run: Path, *more: str) -> tuple[str, ...]:
    place = (f"data.root={root}", f"data.index={root}.index", f"run_dir={run}")
    return ("experiment=tiny", "data=folder", *place, *more)


def stamps(root: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (root / "SALImages").iterdir()}


def test_maps_of_a_split(bare: Path, tmp_path: Path, onnx_network: Write) -> None:
    file = onnx_network("n", 3, 64, 64)
    result = call(saliency_maps.run, *settings(bare, tmp_path / "run", *MEAN, f"saliency.model={file}"))
    folder = DatasetFolder.open(bare)
    ids = folder.ids("train")
    assert stamps(bare).keys() == set(ids)
    decided = []
    for photo in ids:
        expected = np.asarray(folder.photo(photo)).astype(float).mean(axis=2)
        made = folder.saliency(photo, size=(64, 64))
        np.testing.assert_allclose(made, expected, atol=0.501)
        blank = not 0.01 <= made.mean() / 255 <= 0.99
        decided.append(0 if blank else ((made < 255 / 4) | (made > 255 * 3 / 4)).mean())
    assert result.path == bare / "SALImages"
    assert result.score == pytest.approx(np.mean(decided))
    content = read_json(tmp_path / "run" / "saliency" / "manifest.json")
    assert [len(known) for known in content["inputs"].values()] == [64]
    assert content["counts"] == {"made": 12, "kept": 0}
    assert content["model_sha256"] == file_hash(file)
    assert content["config"]["size"] == [64, 64]
    assert content["provider"] == "CPUExecutionProvider"
    assert content["score"] == content["summary"]["decided"] == pytest.approx(result.score)


def test_other_splits_too(bare: Path, tmp_path: Path, onnx_network: Write) -> None:
    more = (*MEAN, f"saliency.model={onnx_network()}", "saliency.splits=[val,train,val]")
    call(saliency_maps.run, *settings(bare, tmp_path / "run", *more))
    folder = DatasetFolder.open(bare)
    assert stamps(bare).keys() == {*folder.ids("val"), *folder.ids("train")}


def test_maps_beside_the_dataset(own_dataset: Path, tmp_path: Path, onnx_network: Write) -> None:
    """A dataset that is not to be written to, or a second set of maps."""
    before = stamps(own_dataset)
    more = (*MEAN, f"saliency.model={onnx_network()}", f"data.saliency={tmp_path / 'maps'}")
    result = call(stage1.run, *settings(own_dataset, tmp_path / "run", *more))
    assert np.isfinite(result.score)
    assert len(list((tmp_path / "maps").iterdir())) == 12
    assert stamps(own_dataset) == before


def test_presets_resize(bare: Path, tmp_path: Path, onnx_network: Write) -> None:
    """As U-2-Net is published: 320 px, divided by the peak, ImageNet's mean and deviation, stretched to 0..1."""
    file = onnx_network(1, 3, 320, 320)
    call(saliency_maps.run, *settings(bare, tmp_path / "run", "saliency=u2net", f"saliency.model={file}"))
    folder = DatasetFolder.open(bare)
    for photo in folder.ids("train"):
        large = np.asarray(folder.photo(photo).resize((320, 320), Image.Resampling.BILINEAR)).astype(float)
        values = ((large / large.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).mean(axis=2)
        values = 255 * (values - values.min()) / (values.max() - values.min())
        expected = Image.fromarray(values.astype(np.float32)).resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(folder.saliency(photo, size=(64, 64)), np.asarray(expected), atol=0.51)


def test_a_stopped_run_goes_on(
    bare: Path, tmp_path: Path, onnx_network: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = settings(bare, tmp_path / "run", *MEAN, f"saliency.model={onnx_network()}")
    write, written = saliency_maps.make_maps, 0

    def stopping(*given: Any, **more: Any) -> Any:
        for photo in write(*given, **more):
            nonlocal written
            written += 1
            if written == 6:
                raise KeyboardInterrupt
            yield photo

    with monkeypatch.context() as patch:
        patch.setattr(saliency_maps, "make_maps", stopping)
        with pytest.raises(KeyboardInterrupt):
            call(saliency_maps.run, *arguments)
    before = stamps(bare)
    assert len(before) == 6
    assert not (tmp_path / "run" / "saliency").exists()
    call(saliency_maps.run, *arguments)
    after = stamps(bare)
    assert len(after) == 12
    assert {photo: after[photo] for photo in before} == before
    assert read_json(tmp_path / "run" / "saliency" / "manifest.json")["counts"] == {"made": 6, "kept": 6}


def test_only_missing_maps_are_made(own_dataset: Path, tmp_path: Path, onnx_network: Write) -> None:
    arguments = settings(own_dataset, tmp_path / "run", *MEAN, f"saliency.model={onnx_network()}")
    whole = {path.stem: path.read_bytes() for path in (own_dataset / "SALImages").iterdir()}
    before = stamps(own_dataset)
    for photo in ("train_00003", "train_00007"):
        (own_dataset / "SALImages" / f"{photo}.png").unlink()
    first = call(saliency_maps.run, *arguments)
    after = stamps(own_dataset)
    assert after.keys() == before.keys()
    assert {photo for photo in after if after[photo] != before[photo]} == {"train_00003", "train_00007"}
    manifest = tmp_path / "run" / "saliency" / "manifest.json"
    told = manifest.read_bytes()
    assert call(saliency_maps.run, *arguments) == first
    assert (stamps(own_dataset), manifest.read_bytes()) == (after, told)
    call(saliency_maps.run, *arguments, "saliency.overwrite=true")
    made = {path.stem: path.read_bytes() for path in (own_dataset / "SALImages").iterdir()}
    ids = DatasetFolder.open(own_dataset).ids("train")
    assert [photo for photo in ids if made[photo] == whole[photo]] == []
    assert read_json(manifest)["counts"] == {"made": 12, "kept": 0}


MIXED = "kept maps were made with other settings; saliency.overwrite=true makes them anew"


def test_maps_of_two_networks_are_told(bare: Path, tmp_path: Path, onnx_network: Write, command: Command) -> None:
    def told(*more: str) -> str:
        code, text = command(saliency_maps.main, *settings(bare, tmp_path / "run", *MEAN, *more))
        assert code == 0
        return text

    file = onnx_network("n", 3, 64, 64)
    copy = shutil.copy(file, tmp_path / "copy.onnx")
    assert MIXED not in told(f"saliency.model={file}")
    assert MIXED not in told(f"saliency.model={copy}", "saliency.splits=[train,val]", "saliency.batch=2")
    for photo in ("train_00003", "train_00007"):
        (bare / "SALImages" / f"{photo}.png").unlink()
    assert f"10 {MIXED}" in told(f"saliency.model={file}", "saliency.std=[2,2,2]")
    assert MIXED not in told(f"saliency.model={file}", "saliency.overwrite=true")


def test_a_stopped_run_of_another_network_is_told(
    bare: Path, tmp_path: Path, onnx_network: Write, command: Command
) -> None:
    """It left maps, but no manifest."""
    photo = bare / "JPEGImages" / "train_00003.jpg"
    whole = photo.read_bytes()
    photo.write_bytes(b"half")
    arguments = settings(bare, tmp_path / "run", *MEAN, f"saliency.model={onnx_network()}", "saliency.batch=1")
    assert command(saliency_maps.main, *arguments)[0] == 2
    photo.write_bytes(whole)
    code, text = command(saliency_maps.main, *arguments, "saliency.std=[2,2,2]")
    assert code == 0
    assert f"3 {MIXED}" in text
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["saliency"]


def test_a_broken_map_is_made_anew_as_its_error_says(
    own_dataset: Path, tmp_path: Path, onnx_network: Write, command: Command
) -> None:
    broken = own_dataset / "SALImages" / "train_00001.png"
    broken.write_bytes(b"")
    arguments = settings(own_dataset, tmp_path / "run", *MEAN, f"saliency.model={onnx_network()}")
    code, text = command(stage1.main, *arguments)
    assert code == 2
    assert f"{broken} cannot be read as an image" in text
    assert "delete it, or have it made anew with saliency.overwrite=true" in text
    code, _ = command(stage1.main, *arguments, "saliency.overwrite=true")
    assert code == 0
    assert broken.stat().st_size


def test_stage1_makes_what_is_missing(bare: Path, tmp_path: Path, onnx_network: Write, command: Command) -> None:
    run = tmp_path / "run"
    arguments = settings(bare, run, *MEAN, f"saliency.model={onnx_network()}")
    code, told = command(stage1.main, *arguments)
    assert code == 0
    assert "saliency maps: 12 made, 0 kept; mean saliency " in told
    assert (run / "classifier" / "model.safetensors").is_file()
    assert (run / "saliency" / "manifest.json").is_file()
    before = stamps(bare)
    code, told = command(stage1.main, *arguments)
    assert code == 0
    assert "saliency maps:" not in told
    assert stamps(bare) == before


@pytest.mark.parametrize("verb", [stage1, prepare, saliency_maps, train_cls])
def test_without_maps_one_line_says_what_to_do(bare: Path, tmp_path: Path, command: Command, verb: ModuleType) -> None:
    code, told = command(verb.main, *settings(bare, tmp_path / "run"))
    assert code == 2
    line = told.splitlines()[-1]
    assert f"12 of 12 photos have no saliency map in {bare / 'SALImages'} (train_00000.png is missing): " in line
    assert told.count("saliency map in") == 1
    assert verb in (saliency_maps, train_cls) or "1 fault: " in line
    for word in ("saliency=u2net saliency.model=FILE", "eps-seg[saliency]", "saliency=rembg", "classifier=cam"):
        assert word in line
    assert not (tmp_path / "run").exists()


def test_the_baseline_needs_no_maps(bare: Path, tmp_path: Path) -> None:
    call(stage1.run, *settings(bare, tmp_path / "run", "classifier=cam"))
    assert not (bare / "SALImages").exists()


def test_maps_of_another_size_are_told_beside_a_network(
    own_dataset: Path, tmp_path: Path, onnx_network: Write, command: Command
) -> None:
    Image.new("L", (63, 64)).save(own_dataset / "SALImages" / "train_00001.png")
    (own_dataset / "SALImages" / "train_00002.png").unlink()
    arguments = settings(own_dataset, tmp_path / "run", *MEAN, f"saliency.model={onnx_network()}")
    code, told = command(stage1.main, *arguments)
    assert code == 2
    assert "1 fault: " in told
    assert "train_00001.png is 63x64" in told


def test_unreadable_photo(bare: Path, tmp_path: Path, onnx_network: Write, command: Command) -> None:
    (bare / "JPEGImages" / "train_00003.jpg").write_bytes(b"half")
    arguments = settings(bare, tmp_path / "run", *MEAN, f"saliency.model={onnx_network()}", "saliency.batch=2")
    code, told = command(saliency_maps.main, *arguments)
    assert code == 2
    assert "train_00003.jpg cannot be read as an image" in told
    assert stamps(bare).keys() == {"train_00000", "train_00001"}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["saliency=u2net"], "saliency.model has no value: add saliency.model=..."),
        (["saliency=u2net", "saliency.model=nowhere.onnx"], "saliency.model=nowhere.onnx: no such file"),
        (["saliency=onnx", "saliency.model=photo.jpg"], "photo.jpg cannot be opened as an ONNX network"),
        (["saliency=rembg"], "saliency=rembg: the package rembg is not installed"),
        (["saliency=u2net2"], "saliency=u2net2: no such choice; did you mean u2net?"),
        (["saliency=none", "saliency.splits=[tset]"], "split 'tset'"),
    ],
)
def test_mistakes(
    bare: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, overrides: list[str], told: str
) -> None:
    monkeypatch.setitem(sys.modules, "rembg", None)
    shutil.copy(bare / "JPEGImages" / "train_00000.jpg", tmp_path / "photo.jpg")
    code, line = command(saliency_maps.main, *settings(bare, tmp_path / "run", *overrides))
    assert (code, line.count("\n")) == (2, 1)
    assert told in line
    assert not (tmp_path / "run").exists()
    assert not (bare / "SALImages").exists()


def test_none_makes_no_maps(own_dataset: Path, tmp_path: Path, command: Command) -> None:
    """But tells how good those are that there are."""
    run = tmp_path / "run"
    assert 0 < call(saliency_maps.run, *settings(own_dataset, run)).score <= 1
    code, line = command(saliency_maps.main, *settings(own_dataset, run, "saliency.overwrite=true"))
    assert code == 2
    assert "saliency=none makes no maps: choose saliency=u2net, isnet, birefnet, onnx or rembg" in line
    assert not run.exists()


@pytest.mark.parametrize(
    ("choice", "size", "scale", "mean", "std", "activation"),
    [
        ("u2net", 320, "peak", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "minmax"),
        ("isnet", 1024, "unit", [0.5, 0.5, 0.5], [1, 1, 1], "minmax"),
        ("birefnet", 1024, "unit", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "sigmoid"),
    ],
)
def test_published_preprocessing(
    choice: str, size: int, scale: str, mean: list[float], std: list[float], activation: str
) -> None:
    node = compose(f"saliency={choice}", "saliency.model=x.onnx").saliency
    assert (node.size, node.scale, node.mean, node.std) == ([size, size], scale, mean, std)
    assert (node.activation, node.layout, node.channels, node.output) == (activation, "nchw", "rgb", "0")
