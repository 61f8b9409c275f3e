from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from eps.engine import onnx_export
from eps.engine.checkpoint import load_segmenter
from eps.engine.exported import ExportedSegmenter, largest_difference, noise
from eps.engine.onnx_export import check_packages, run_onnx, write_onnx
from eps.errors import UserError
from eps.models.segmenter import Segmenter
from eps.models.spec import SegmenterSpec, TrunkSpec, build_segmenter
from eps.nn.deformable import DeformableConv2d

SIZE = (64, 96)


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
    write_onnx(model, noise(2, size=SIZE), path, dynamic=True, deformable=False, entries=entries)
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


@pytest.fixture(scope="module")
def deformable() -> ExportedSegmenter:
    spec = SegmenterSpec(
        trunk=TrunkSpec(
            backbone="test_resnet",
            frozen_norm=True,
            fpn_channels=8,
            head_channels=8,
            head_depth=1,
            prototypes=5,
            finest_stride=8,
            deformable_every=1,
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.3, 0.4),
        ),
        classes=("train", "boat"),
        image_size=SIZE,
        scales=((8.0,), (16.0,), (32.0,)),
        ratios=(1.0, 2.0),
        design="released",
    )
    torch.manual_seed(0)
    segmenter = build_segmenter(spec)
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
    import cv2

    path = tmp_path / "model.onnx"
    write_onnx(deformable, noise(1, size=SIZE), path, dynamic=False, deformable=True, entries={})
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
        write_onnx(deformable, noise(1, size=SIZE), tmp_path / "m.onnx", dynamic=False, deformable=True, entries={})


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_onnx(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None) if name == "onnx" else None

    check_packages()
    monkeypatch.setattr(onnx_export, "find_spec", only_onnx)
    with pytest.raises(UserError, match=r"onnxscript, onnxruntime; pip install 'eps-seg\[export\]'"):
        check_packages()
