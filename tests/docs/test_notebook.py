"""docs/tutorial.ipynb: kept without outputs, and it runs, with tiny sizes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.documents import DOCS

NOTEBOOK = DOCS / "tutorial.ipynb"
SIZES = 'SCENES, STEPS, TRUNK = 80, 100, "lite0"'
TINY = 'SCENES, STEPS, TRUNK = 12, 2, "tiny"'
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=300).execute()
nbformat.write(notebook, sys.argv[1])
"""


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_it_is_kept_without_outputs() -> None:
    cells = code(read(NOTEBOOK))
    assert len(cells) > 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert "".join(cells[0]["source"]) == SIZES
    assert read(NOTEBOOK)["metadata"].keys() == {"kernelspec", "language_info"}


@pytest.mark.slow
@pytest.mark.release
def test_it_runs(tmp_path: Path) -> None:
    """In a process of its own, as jupyter would; pictures and scores come out."""
    notebook = read(NOTEBOOK)
    code(notebook)[0]["source"] = [TINY]
    path = tmp_path / "tutorial.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    clean = os.environ | {"OMP_NUM_THREADS": "1", "IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    command = [sys.executable, "-c", EXECUTE, str(path)]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outputs = [output for cell in code(read(path)) for output in cell["outputs"]]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    told = "".join("".join(output.get("data", {}).get("text/plain", "")) for output in outputs)
    for line in ("classifier: runs/notebook/classifier (score", "mIoU", "segmenter: runs/notebook/segmenter (score"):
        assert line in told
    assert (tmp_path / "runs/notebook/export/coco/instances.json").is_file()
    assert (tmp_path / "runs/notebook/export/onnx/model.onnx").is_file()
