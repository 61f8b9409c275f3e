"""The clients in `examples/` find what our own predictor finds, without torch."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import cv2
import numpy as np
import onnxruntime
import pytest
from PIL import Image

import eps
from eps.engine.predictor import Predictor

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
LEAST = 0.9
"""Only what scores more is compared: the best twenty or so."""
CLIENTS = ("onnxruntime_client", "opencv_client")


class Found(NamedTuple):
    name: str
    score: float
    box: np.ndarray
    mask: np.ndarray | int
    """Or how many pixels it has."""


def module(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def predictor(exported: Path) -> Predictor:
    return eps.load(exported / "segmenter")


@pytest.fixture(scope="module")
def model(exported: Path) -> Path:
    return exported / "export" / "onnx" / "model.onnx"


def smooth_photo(width: int, height: int) -> Image.Image:
    """Smooth, so that the ways to resize agree."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [np.sin(6 * x + 2 * y), np.cos(5 * y - 3 * x), np.sin(9 * x * y + 1)]
    return Image.fromarray((128 + 120 * np.stack(waves, axis=-1)).astype(np.uint8))


def ours(predictor: Predictor, photo: Image.Image) -> list[Found]:
    found = predictor.predict(photo)
    names = [predictor.classes[number] for number in found.classes.tolist()]
    parts = (part.cpu().numpy() for part in (found.scores, found.boxes, found.masks))
    return [Found(*item) for item in zip(names, *parts, strict=True)]


def assert_same(found: list[Found], expected: list[Found], same_mask: Callable[[Found, Found], bool]) -> None:
    """Everything that one side is sure of the other side has as well, in whatever order near ties come."""
    sure = [item for item in expected if item.score > LEAST + 0.01]
    assert len(sure) >= 8
    assert len({item.name for item in sure}) == 2
    for one, all_others in [*((item, found) for item in sure), *((item, expected) for item in found)]:
        near = [other for other in all_others if other.name == one.name and np.abs(other.box - one.box).max() < 1]
        assert any(abs(other.score - one.score) < 0.01 and same_mask(one, other) for other in near), one


def overlap(one: Found, other: Found) -> bool:
    """An IoU over 0.95; a few pixels are within rounding, however small the mask is."""
    different = (one.mask ^ other.mask).sum()
    return bool(different <= 4 or different < 0.05 * (one.mask | other.mask).sum())


def in_onnxruntime(client: ModuleType, model: Path, path: Path) -> Iterator[Found]:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    yield from (Found(*item) for item in client.detect(session, Image.open(path), LEAST))


def in_opencv(client: ModuleType, model: Path, path: Path) -> Iterator[Found]:
    notes = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
    net = cv2.dnn.readNetFromONNX(str(model))
    yield from (Found(*item) for item in client.detect(net, notes, cv2.imread(str(path)), LEAST))


@pytest.mark.parametrize("size", [(96, 64), (150, 110), (70, 60)])
@pytest.mark.parametrize(("name", "run"), [(CLIENTS[0], in_onnxruntime), (CLIENTS[1], in_opencv)])
def test_same_boxes_and_masks(
    predictor: Predictor,
    model: Path,
    tmp_path: Path,
    name: str,
    run: Callable[[ModuleType, Path, Path], Iterator[Found]],
    size: tuple[int, int],
) -> None:
    photo = smooth_photo(*size)
    photo.save(tmp_path / "photo.png")
    found = list(run(module(name), model, tmp_path / "photo.png"))
    assert sum(item.mask.sum() > 100 for item in found) >= 8
    assert_same(found, ours(predictor, photo), overlap)


@pytest.mark.parametrize("name", CLIENTS)
def test_as_a_command(predictor: Predictor, model: Path, tmp_path: Path, name: str) -> None:
    photo = smooth_photo(96, 64)
    photo.save(tmp_path / "photo.png")
    arguments = [str(model), "photo.png", "out.png", str(LEAST)]
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = []
    for line in done.stdout.splitlines():
        label, score, _, *box, _, pixels = line.split()
        found.append(Found(label, float(score), np.array(box, dtype=float), int(pixels)))
    assert_same(found, ours(predictor, photo), lambda one, other: abs(_pixels(one) - _pixels(other)) <= 3)
    drawn = np.asarray(Image.open(tmp_path / "out.png"))
    assert drawn.shape == (64, 96, 3)
    assert (drawn != np.asarray(photo)).any(axis=2).mean() > 0.2


@pytest.mark.parametrize("name", CLIENTS)
def test_mistakes_are_one_line(model: Path, tmp_path: Path, name: str) -> None:
    """No traceback; without arguments how to call it."""
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("no photo")
    for given, told in (
        ((), f"python examples/{name}.py"),
        ((str(model), "gone.png", "out.png"), "gone.png"),
        ((str(model), "text.png", "out.png"), "text.png"),
        (("gone.onnx", "photo.png", "out.png"), "gone"),
        ((str(model), "photo.png", "out.png", "much"), "much"),
    ):
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), *given]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert told in done.stderr
        assert not given or told in done.stderr.splitlines()[-1]


def _pixels(item: Found) -> int:
    return int(np.sum(item.mask))


def test_opencv_client_refuses_deformable_convolutions(model: Path, tmp_path: Path) -> None:
    notes = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
    (tmp_path / "model.json").write_text(json.dumps({**notes, "deformable": True}), encoding="utf-8")
    with pytest.raises(SystemExit, match="no deformable convolutions"):
        module("opencv_client").main(str(tmp_path / "model.onnx"), "photo.png", "out.png")


@pytest.mark.parametrize("name", CLIENTS)
def test_short_and_without_torch(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 100
    imported = {
        (alias.name if isinstance(node, ast.Import) else str(node.module)).partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not imported & {"torch", "torchvision", "eps", "scipy"}
