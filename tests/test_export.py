"""`eps.export` from a run or a checkpoint to files that onnxruntime, OpenCV and torch run alike."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import eps
from eps import export, predict
from eps.cli import call
from eps.engine.checkpoint import load_segmenter, save_model
from eps.engine.exported import ExportedSegmenter, largest_difference
from eps.engine.torch_export import run_torch
from eps.errors import UserError
from eps.models.segmenter import Segmenter
from eps.models.spec import DeepLabSpec, SegmenterSpec, build_deeplab, build_segmenter
from eps.schema import Config, Result

Outputs = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def onnx_file(exported: Path) -> Path:
    return exported / "export" / "onnx" / "model.onnx"


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """No noise, which the export is compared on."""
    y, x = torch.meshgrid(torch.linspace(0, 9, 64), torch.linspace(0, 13, 96), indexing="ij")
    return torch.stack([x.sin() + y.cos(), (x + y).sin(), (x - 2 * y).cos()])[None] * 1.5


@pytest.fixture(scope="module")
def expected(exported: Path, images: torch.Tensor) -> dict[str, torch.Tensor]:
    segmenter, _ = load_segmenter(exported / "segmenter" / "model.safetensors")
    model = ExportedSegmenter(segmenter, squeezed=True, semantic=True)
    with torch.inference_mode():
        return dict(zip(model.outputs, model(images), strict=True))


def in_onnxruntime(path: Path, images: np.ndarray) -> Outputs:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": images}), strict=True))


def in_opencv(path: Path, images: np.ndarray) -> Outputs:
    net = cv2.dnn.readNetFromONNX(str(path))
    net.setInput(images, "image")
    names = ["loc", "conf", "mask", "proto", "semantic"]
    return dict(zip(names, net.forward(names), strict=True))


def refused(run: Callable[[Config], Result], match: str, *overrides: str) -> None:
    with pytest.raises(UserError, match=match):
        call(run, "experiment=tiny", *overrides)


def test_names_order_and_shapes(onnx_file: Path) -> None:
    graph = onnx.load(str(onnx_file)).graph
    onnx.checker.check_model(str(onnx_file))
    shapes = [(v.name, [d.dim_value for d in v.type.tensor_type.shape.dim]) for v in (*graph.input, *graph.output)]
    assert shapes == [
        ("image", [1, 3, 64, 96]),
        ("loc", [252, 4]),
        ("conf", [252, 3]),
        ("mask", [252, 5]),
        ("proto", [16, 24, 5]),
        ("semantic", [16, 24, 3]),
    ]


@pytest.mark.parametrize("run", [in_onnxruntime, in_opencv])
def test_equal_to_torch(
    onnx_file: Path,
    images: torch.Tensor,
    expected: dict[str, torch.Tensor],
    run: Callable[[Path, np.ndarray], Outputs],
) -> None:
    found = run(onnx_file, images.numpy())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.std() > 0.01, f"{name} tells nothing"
        assert largest_difference(value, found[name]) < 1e-4


def test_large_coefficients_in_opencv(exported: Path, onnx_file: Path, images: torch.Tensor, tmp_path: Path) -> None:
    """OpenCV 5.0's own tanh gives nan between 44 and 89. What goes in is 60 times as large, and so is its rounding."""
    model = onnx.load(str(onnx_file))
    (tensor,) = (t for t in model.graph.initializer if t.name.endswith("box_head.coefficients.weight"))
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 60, tensor.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    segmenter, _ = load_segmenter(exported / "segmenter" / "model.safetensors")
    assert isinstance(segmenter, Segmenter)
    with torch.inference_mode():
        segmenter.box_head.coefficients.weight *= 60
        coefficients = segmenter(images).coefficients[0]
    assert (coefficients == 1).float().mean() > 0.1
    assert largest_difference(coefficients, in_opencv(tmp_path / "model.onnx", images.numpy())["mask"]) < 1e-3


def test_description_in_the_file_and_beside_it(exported: Path, onnx_file: Path, images: torch.Tensor) -> None:
    metadata = onnxruntime.InferenceSession(str(onnx_file)).get_modelmeta().custom_metadata_map
    beside = json.loads(onnx_file.with_suffix(".json").read_text(encoding="utf-8"))
    assert {name: json.loads(text) for name, text in metadata.items()} == beside
    segmenter, spec = load_segmenter(exported / "segmenter" / "model.safetensors")
    anchors = segmenter(images).anchors.numpy()
    assert np.array_equal(np.array(beside["anchors"], dtype=np.float32), anchors)
    assert (tuple(beside["classes"]), tuple(beside["mean"])) == (spec.classes, (0.5, 0.4, 0.3))
    assert (beside["square_anchors"], beside["batch"], beside["outputs"][-1]) == (False, "squeezed", "semantic")


def test_nothing_of_this_machine_is_in_the_file(onnx_file: Path) -> None:
    assert str(Path(eps.__file__).parent).encode() not in onnx_file.read_bytes()


def test_manifest_says_how_near_it_is(exported: Path) -> None:
    manifest = json.loads((exported / "export" / "onnx" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["differences"].keys() == {"loc", "conf", "mask", "proto", "semantic"}
    assert 0 < max(manifest["differences"].values()) < manifest["tolerance"] == 1e-4
    assert {"model.onnx", "model.json"} <= manifest["files"].keys()


def test_up_to_date(exported: Path, onnx_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = onnx_file.stat().st_mtime_ns
    result = call(export.run, "experiment=tiny", f"run_dir={exported}", "format=onnx", "export.semantic=true")
    assert result.path == onnx_file.parent
    assert onnx_file.stat().st_mtime_ns == before
    assert "is up to date" in capsys.readouterr().err


@pytest.mark.slow
def test_torch_program(exported: Path, tmp_path: Path, images: torch.Tensor, expected: dict[str, torch.Tensor]) -> None:
    """By the checkpoint's path alone, with any batch."""
    checkpoint = f"model={exported / 'segmenter' / 'model.safetensors'}"
    overrides = (checkpoint, f"run_dir={tmp_path}", "format=torch", "export.batch=dynamic")
    result = call(export.run, "experiment=tiny", *overrides)
    assert result.path == tmp_path / "export" / "torch"
    found = run_torch(result.path / "model.pt2", torch.cat([images.flip(-1), images, images]))
    assert len(found) == 4
    for value, output in zip(list(expected.values())[:4], found, strict=True):
        assert largest_difference(value, output[1]) < 1e-5
        assert largest_difference(value, output[0]) > 1e-2
    assert json.loads((result.path / "model.json").read_text(encoding="utf-8"))["batch"] == "dynamic"


@pytest.mark.slow
def test_mask_iou_net_as_a_torch_program(tmp_path: Path, segmenter_spec: SegmenterSpec) -> None:
    torch.manual_seed(0)
    spec = replace(segmenter_spec, mask_iou=True)
    model = build_segmenter(spec).eval()
    assert model.mask_iou is not None
    for convolution in model.mask_iou.convolutions:
        nn.init.uniform_(convolution.weight, 0, 2 / convolution.weight[0].numel())  # so that ratings differ
    save_model(tmp_path / "segmenter" / "model.safetensors", model, spec)
    made = call(export.run, "experiment=tiny", f"run_dir={tmp_path}", "format=torch").path
    masks = torch.rand(7, 1, 16, 24)
    (found,) = run_torch(made / "mask_iou.pt2", masks)
    assert largest_difference(model.mask_iou(masks), found) < 1e-5
    assert json.loads((made / "model.json").read_text(encoding="utf-8"))["mask_iou"] == "mask_iou.pt2"


def test_what_differs_is_not_kept(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_wrongly(path: Path, images: torch.Tensor) -> list[np.ndarray]:
        segmenter, _ = load_segmenter(exported / "segmenter" / "model.safetensors")
        with torch.inference_mode():
            found = [output.numpy() for output in ExportedSegmenter(segmenter, squeezed=True, semantic=False)(images)]
        found[2][7, 3] += 3e-4 * np.abs(found[2]).max()
        return found

    shutil.copytree(exported / "segmenter", tmp_path / "segmenter")
    monkeypatch.setattr(export, "run_torch", run_wrongly)
    monkeypatch.setattr(export, "write_torch", lambda *_, **__: None)
    refused(export.run, r"the exported mask is off by 3\.0e-04 of its scale", f"run_dir={tmp_path}", "format=torch")
    assert not list(tmp_path.glob("export/**/*.json"))


def test_refused(exported: Path, tmp_path: Path) -> None:
    refused(export.run, "format=auto: export writes a network, onnx or torch", f"run_dir={exported}")
    refused(predict.run, "format=onnx: predict writes", f"run_dir={exported}", "format=onnx")
    refused(export.run, r"segmenter/model\.safetensors is missing", f"run_dir={tmp_path}", "format=onnx")
    refused(export.run, r"nowhere/model\.safetensors is missing", f"model={tmp_path / 'nowhere'}", "format=onnx")
    refused(export.run, "its name must be", f"model={tmp_path / 'mine.pth'}", "format=onnx")
    refused(export.run, r"model\.onnx is an export already", f"model={exported / 'export' / 'onnx'}", "format=onnx")


def test_deeplab_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DeepLabSpec(
        backbone="resnet50", classes=("train",), frozen_norm=True, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    with torch.device("meta"):  # it is not to be run
        model = build_deeplab(spec)
    monkeypatch.setattr(export, "load_segmenter", lambda path, told: (model, spec))
    refused(export.run, "is a DeepLab, which has no boxes or prototypes", f"run_dir={tmp_path}", "format=onnx")


def test_command_line(
    exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["experiment=tiny", f"run_dir={exported}", "format=onnx", "export.semantic=true"]
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    export.main()
    assert "export/onnx is up to date" in capsys.readouterr().err
