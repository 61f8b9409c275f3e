"""Shape annotations of `eps` are checked by beartype in every test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

if TYPE_CHECKING:  # imported before the hook, nothing would be checked in it
    from eps.models.spec import SegmenterSpec, TrunkSpec

_hook = install_import_hook("eps", "beartype.beartype")


@pytest.fixture
def onnx_network(tmp_path: Path) -> Callable[..., Path]:
    """Writes tiny salient-object networks."""

    def write(
        *shape: Any, axis: int = 1, keepdims: bool = True, gain: float = 1, bias: float = 0, elements: str = "FLOAT"
    ) -> Path:
        """The output `salient` is gain * (mean of the channels) + bias, the output `rest` its negative."""
        from onnx import TensorProto, helper, save

        kind = getattr(TensorProto, elements)
        constants = [helper.make_tensor(name, kind, [], [value]) for name, value in (("gain", gain), ("bias", bias))]
        nodes = [
            helper.make_node("ReduceMean", ["photo"], ["mean"], axes=[axis], keepdims=int(keepdims)),
            helper.make_node("Mul", ["mean", "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "bias"], ["salient"]),
            helper.make_node("Neg", ["salient"], ["rest"]),
        ]
        inputs = [helper.make_tensor_value_info("photo", kind, shape or ("n", 3, "h", "w"))]
        outputs = [helper.make_tensor_value_info(name, kind, None) for name in ("salient", "rest")]
        graph = helper.make_graph(nodes, "salient", inputs, outputs, initializer=constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = tmp_path / "network.onnx"
        save(model, str(path))
        return path

    return write


@pytest.fixture(scope="session")
def fill() -> Callable[..., dict[str, torch.Tensor]]:
    """Makes the weights of the golden vectors: every tensor a function of its key and shape."""

    def make(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, torch.Tensor]:
        return {key: _filled(key, shape, seed) for key, shape in shapes.items()}

    return make


def _filled(key: str, shape: Sequence[int], seed: int) -> torch.Tensor:
    """The rule that the vectors were recorded with: it may not change."""
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.long)
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    if leaf == "running_var" or (len(shape) == 1 and leaf not in ("running_mean", "bias")):
        values = rng.uniform(0.8, 1.2, shape)
    else:
        spread = {"running_mean": 0.1, "bias": 0.05}.get(leaf) or (1.0 / prod(shape[1:])) ** 0.5
        values = rng.normal(0, spread, shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@pytest.fixture(scope="session")
def trunk_spec() -> TrunkSpec:
    """The smallest trunk with a pyramid and a prototype head: 5 planes."""
    from eps.models.spec import TrunkSpec

    return TrunkSpec(
        backbone="test_efficientnet",
        frozen_norm=True,
        fpn_channels=8,
        head_channels=8,
        head_depth=1,
        prototypes=5,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
    )


@pytest.fixture(scope="session")
def segmenter_spec(trunk_spec: TrunkSpec) -> SegmenterSpec:
    """A segmenter on it: two classes, 252 anchors in its 64 x 96 pixels."""
    from eps.models.spec import SegmenterSpec

    return SegmenterSpec(
        trunk=trunk_spec,
        classes=("train", "boat"),
        image_size=(64, 96),
        scales=((8.0,), (16.0,), (32.0,)),
        ratios=(1.0, 2.0),
    )


@pytest.fixture(scope="session")
def segmenter_run(tmp_path_factory: pytest.TempPathFactory, segmenter_spec: SegmenterSpec) -> Path:
    """A run with a segmenter that finds much in any photo. Not to be changed.

    Its weights are random, the last ones so large that scores, boxes and masks differ much from anchor to anchor.
    """
    from torch import nn

    from eps.engine.checkpoint import save_model
    from eps.models.spec import build_segmenter

    torch.manual_seed(0)
    model = build_segmenter(segmenter_spec)
    head = model.box_head
    for layer, spread in ((head.classes, 0.5), (head.boxes, 0.3), (head.coefficients, 0.3)):
        nn.init.normal_(layer.weight, std=spread)
    with torch.no_grad():
        head.classes.bias.view(-1, 3)[:, 0] = 2.5  # of the background
    run = tmp_path_factory.mktemp("run")
    save_model(run / "segmenter" / "model.safetensors", model, segmenter_spec)
    return run


@pytest.fixture(scope="session")
def exported(segmenter_run: Path) -> Path:
    """That run with its export/onnx, a semantic map included. Not to be changed."""
    from eps import export
    from eps.cli import call

    call(export.run, "experiment=tiny", f"run_dir={segmenter_run}", "format=onnx", "export.semantic=true")
    return segmenter_run
