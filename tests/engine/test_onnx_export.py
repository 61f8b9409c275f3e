from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from eps.engine import onnx_export
from eps.engine.checkpoint import load_segmenter
from eps.engine.exported import INPUT, OUTPUTS, ExportedSegmenter, largest_difference, noise
from eps.engine.onnx_export import check_packages, run_onnx, write_onnx
from eps.errors import UserError
from eps.models.segmenter import Segmenter
from eps.models.spec import SegmenterSpec, build_segmenter
from eps.nn.deformable import DeformableConv2d
from eps.nn.mask_iou import MaskIoUNet

SIZE = (64, 96)
PORTS: dict[str, Any] = {"takes": INPUT, "gives": OUTPUTS}


def shapes(values: list[onnx.ValueInfoProto]) -> dict[str, list[int | str]]:
    return {v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in values}


@torch.inference_mode()
def differences(model: ExportedSegmenter, path: Path, photos: int, *, deformable: bool = False) -> list[float]:
    images = noise(photos, size=SIZE) * 0.7 + 0.1
    found = run_onnx(path, images.numpy(), threads=1, deformable=deformable)
    return [largest_difference(one, other) for one, other in zip(model(images), found, strict=True)]


@pytest.mark.slow
def test_dynamic_batch(exported: Path, tmp_path: Path) -> None:
    segmenter, _ = load_segmenter(exported / "segmenter" / "model.safetensors")
    assert isinstance(segmenter, Segmenter)
    model = ExportedSegmenter(segmenter, squeezed=False, semantic=False)
    path = tmp_path / "model.onnx"
    entries = {"classes": '["train", "boat"]'}
    write_onnx(model, noise(2, size=SIZE), path, **PORTS, dynamic=True, deformable=False, entries=entries)
    graph = onnx.load(str(path)).graph
    assert shapes(list(graph.input)) == {"image": ["batch", 3, *SIZE]}
    assert shapes(list(graph.output)) == {
        "loc": ["batch", 252, 4],
        "conf": ["batch", 252, 3],
        "mask": ["batch", 252, 5],
        "proto": ["batch", 16, 24, 5],
    }
    for photos in (1, 2, 5):
        assert max(differences(model, path, photos)) < 1e-5
    assert onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map == entries


@torch.inference_mode()
def test_mask_iou_net(tmp_path: Path) -> None:
    """Of YOLACT++: any number of masks at once, in onnxruntime and in OpenCV."""
    torch.manual_seed(0)
    net, path = MaskIoUNet(classes=3).eval(), tmp_path / "mask_iou.onnx"
    for convolution in net.convolutions:
        nn.init.uniform_(convolution.weight, 0, 2 / convolution.weight[0].numel())  # so that ratings differ
    ports: dict[str, Any] = {"takes": "masks", "gives": ["iou"]}
    write_onnx(net, torch.rand(2, 1, 70, 90), path, **ports, dynamic=True, deformable=False, entries={})
    for count in (1, 5):
        masks = torch.rand(count, 1, 1, 1) * torch.rand(count, 1, 70, 90)
        expected = net(masks)
        assert expected.std() > 0.01
        (found,) = run_onnx(path, masks.numpy(), threads=1, deformable=False)
        assert largest_difference(expected, found) < 1e-5
        opencv = cv2.dnn.readNetFromONNX(str(path))
        opencv.setInput(masks.numpy(), "masks")
        assert largest_difference(expected, opencv.forward("iou")) < 1e-4


@pytest.fixture(scope="module")
def deformable(segmenter_spec: SegmenterSpec) -> ExportedSegmenter:
    trunk = replace(segmenter_spec.trunk, backbone="test_resnet", finest_stride=8, deformable_every=1)
    torch.manual_seed(0)
    segmenter = build_segmenter(replace(segmenter_spec, trunk=trunk, design="released"))
    layers = [module for module in segmenter.modules() if isinstance(module, DeformableConv2d)]
    assert layers
    for layer in layers:  # they begin without offsets
        nn.init.normal_(layer.conv_offset_mask.weight, std=0.05)
    return ExportedSegmenter(segmenter, squeezed=False, semantic=False)


@pytest.mark.slow
def test_deformable_convolutions(
    deformable: ExportedSegmenter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """onnxruntime runs them; OpenCV's dnn module, as far as is known, says that it cannot."""
    path = tmp_path / "model.onnx"
    write_onnx(deformable, noise(1, size=SIZE), path, **PORTS, dynamic=False, deformable=True, entries={})
    assert "DeformConv" in {node.op_type for node in onnx.load(str(path)).graph.node}
    assert max(differences(deformable, path, 1, deformable=True)) < 1e-5
    with pytest.raises(cv2.error, match="DeformConv"):
        cv2.dnn.readNetFromONNX(str(path))
    capfd.readouterr()


def refuse(error: str) -> Callable[..., None]:
    def session(*_: object, **__: object) -> None:
        raise RuntimeError(error)

    return session


def test_onnxruntime_without_deformable_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse("NOT_IMPLEMENTED: implementation of DeformConv(19)"))
    images = np.zeros((1, 3, 8, 8), dtype=np.float32)
    with pytest.raises(UserError, match=r"onnxruntime \d.* does not support deformable convolutions \(DeformConv\)"):
        run_onnx(Path("model.onnx"), images, threads=1, deformable=True)
    with pytest.raises(RuntimeError, match="NOT_IMPLEMENTED"):
        run_onnx(Path("model.onnx"), images, threads=1, deformable=False)


def test_exporter_without_deformable_convolutions(
    deformable: ExportedSegmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.onnx.errors.OnnxExporterError("no decomposition")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(UserError, match="onnxscript cannot write deformable convolutions"):
        write_onnx(
            deformable, noise(1, size=SIZE), tmp_path / "m.onnx", **PORTS, dynamic=False, deformable=True, entries={}
        )


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_onnx(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None) if name == "onnx" else None

    check_packages()
    monkeypatch.setattr(onnx_export, "find_spec", only_onnx)
    with pytest.raises(UserError, match=r"onnxscript, onnxruntime; pip install 'eps-seg\[export\]'"):
        check_packages()
