"""An exported file predicts what the model does that it was made of."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

import eps
from eps import export
from eps.cli import call
from eps.engine.checkpoint import load_segmenter, save_model
from eps.engine.instances import Instances
from eps.engine.onnx_segmenter import OnnxSegmenter, load_onnx, read_description
from eps.engine.predictor import Predictor
from eps.errors import UserError
from eps.models.spec import SegmenterSpec, build_segmenter


def smooth_photo(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [np.sin(6 * x + 2 * y), np.cos(5 * y - 3 * x), np.sin(9 * x * y + 1)]
    return Image.fromarray((128 + 120 * np.stack(waves, axis=-1)).astype(np.uint8))


@pytest.fixture(scope="module")
def ours(exported: Path) -> Predictor:
    return eps.load(exported / "segmenter")


@pytest.fixture(scope="module")
def theirs(exported: Path) -> Predictor:
    return eps.load(exported / "export" / "onnx" / "model.onnx")


def assert_same(found: Instances, expected: Instances) -> None:
    assert len(expected.scores) > 20
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.boxes, expected.boxes, atol=0.02, rtol=1e-3)
    assert torch.equal(found.classes, expected.classes)
    assert found.names == expected.names
    assert (found.masks == expected.masks).float().mean() > 0.999


@pytest.mark.parametrize("size", [(96, 64), (150, 110), (70, 90)])
def test_same_instances_and_labels(ours: Predictor, theirs: Predictor, size: tuple[int, int]) -> None:
    photo = smooth_photo(*size)
    assert_same(theirs.predict(photo), ours.predict(photo))
    assert (theirs.predict_all(photo)[1] == ours.predict_all(photo)[1]).float().mean() > 0.999
    torch.testing.assert_close(theirs.probabilities(photo), ours.probabilities(photo), atol=1e-4, rtol=1e-3)


def test_the_folder_of_an_export(exported: Path, ours: Predictor) -> None:
    loaded = eps.load(exported / "export" / "onnx")
    assert isinstance(loaded.model, OnnxSegmenter)
    assert (loaded.classes, loaded.image_size) == (ours.classes, ours.image_size)
    assert loaded.has_instances
    assert loaded.has_semantic


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["kept", "dynamic"])
def test_batches_and_no_semantic_map(exported: Path, tmp_path: Path, ours: Predictor, batch: str) -> None:
    arguments = ("experiment=tiny", f"run_dir={exported}", f"out_dir={tmp_path}", "format=onnx")
    made = call(export.run, *arguments, f"export.batch={batch}")
    predictor = eps.load(made.path)
    photos = [smooth_photo(96, 64), smooth_photo(60, 80), smooth_photo(33, 47)]
    found = list(predictor.predict_many(photos, batch=2))
    assert len(found) == 3
    for photo, instances in zip(photos, found, strict=True):
        assert_same(instances, ours.predict(photo))
    assert not predictor.has_semantic
    for ask in (predictor.predict_all, predictor.probabilities):
        with pytest.raises(UserError, match=r"no semantic map .*export\.semantic=true"):
            ask(photos[0])


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory, exported: Path, segmenter_spec: SegmenterSpec) -> Path:
    """A run like `exported`, with a mask-IoU net. Not to be changed."""
    model, _ = load_segmenter(exported / "segmenter" / "model.safetensors")
    spec = replace(segmenter_spec, mask_iou=True)
    torch.manual_seed(1)
    again = build_segmenter(spec)
    again.load_state_dict(model.state_dict(), strict=False)
    assert again.mask_iou is not None
    for convolution in again.mask_iou.convolutions:
        nn.init.uniform_(convolution.weight, 0, 2 / convolution.weight[0].numel())  # so that ratings differ
    run = tmp_path_factory.mktemp("rated")
    save_model(run / "segmenter" / "model.safetensors", again, spec)
    call(export.run, "experiment=tiny", f"run_dir={run}", "format=onnx", "export.batch=dynamic")
    return run


@pytest.mark.slow
def test_masks_are_rated(rated: Path) -> None:
    """YOLACT++: the mask-IoU net lies beside the network, and is as near to ours."""
    folder = rated / "export" / "onnx"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["differences"].keys() == {"loc", "conf", "mask", "proto", "iou"}
    assert {"model.onnx", "mask_iou.onnx", "model.json"} <= manifest["files"].keys()
    assert json.loads((folder / "model.json").read_text(encoding="utf-8"))["mask_iou"] == "mask_iou.onnx"
    ours, theirs = eps.load(rated / "segmenter"), eps.load(folder)
    photo = smooth_photo(90, 70)
    found, expected = theirs.predict(photo), ours.predict(photo)
    assert_same(found, expected)
    torch.testing.assert_close(found.mask_scores, expected.mask_scores, atol=1e-4, rtol=1e-3)
    assert (expected.mask_scores - expected.scores).abs().max() > 0.1
    assert expected.mask_scores.std() > 0.01
    theirs.score_threshold = 1.0
    assert len(theirs.predict(photo).mask_scores) == 0


@pytest.mark.slow
def test_alone_masks_have_their_boxes_scores(rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "alone.onnx"
    path.write_bytes((rated / "export" / "onnx" / "model.onnx").read_bytes())
    found = eps.load(path).predict(smooth_photo(90, 70))
    assert torch.equal(found.mask_scores, found.scores)
    assert "mask_iou.onnx is not there: masks have the scores of their boxes" in capsys.readouterr().err


def test_what_cannot_be_loaded(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no\.onnx is missing: python -m eps\.export"):
        eps.load(tmp_path / "no.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\x00 not a network")
    with pytest.raises(UserError, match=r"broken\.onnx cannot be run by onnxruntime") as error:
        load_onnx(tmp_path / "broken.onnx")
    assert "\n" not in str(error.value)
    network = onnx.load(exported / "export" / "onnx" / "model.onnx")
    del network.metadata_props[:]
    onnx.save(network, tmp_path / "bare.onnx")
    with pytest.raises(UserError, match=r"bare\.onnx is not of eps\.export"):
        load_onnx(tmp_path / "bare.onnx")
    monkeypatch.setattr("eps.engine.onnx_segmenter.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs onnxruntime: pip install 'eps-seg\[export\]'"):
        load_onnx(tmp_path / "bare.onnx")


def test_another_version_of_the_format(exported: Path) -> None:
    notes = json.loads((exported / "export" / "onnx" / "model.json").read_text(encoding="utf-8"))
    entries = {name: json.dumps(value) for name, value in notes.items()}
    assert read_description(entries, source="a").classes == ("train", "boat")
    older = {name: text for name, text in entries.items() if name != "whole_pixels"}
    assert read_description(older, source="a") == read_description(entries, source="a")
    with pytest.raises(UserError, match=r"format eps\.export\.9, not eps\.export\.1"):
        read_description({**entries, "format": '"eps.export.9"'}, source="a")
