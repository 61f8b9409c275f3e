"""Nothing of a user's is reported to anyone: libraries that would do so are told not to before they are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = """
import eps
import onnx
import onnxruntime
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

ends = [make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
graph = make_graph([make_node("Identity", ["x"], ["y"])], "graph", ends[:1], ends[1:])
model = make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8)
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": [1.0]})
"""


def test_onnxruntime_leaves_no_identifier(tmp_path: Path) -> None:
    """It puts one into the user's cache, and sends with it what it runs, unless it finds itself in a CI job."""
    pytest.importorskip("onnxruntime")
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    subprocess.run([sys.executable, "-c", RUNS], env=kept | {"HOME": str(tmp_path)}, check=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_users_own_choice_stays() -> None:
    told = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    code = "import os, eps; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], env=told, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "0"
