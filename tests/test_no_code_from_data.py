"""Nothing that a file says is ever run: planted programs stay where they are, and the source has no door for them."""

import ast
import io
import os
import pickle
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

import eps
from eps.checkpoints.initial_weights import load_initial_weights
from eps.checkpoints.released import load_released
from eps.data.artifacts import read_mask, read_scores
from eps.data.cls_labels import read_cls_labels
from eps.data.images import check_image, read_image, read_image_size
from eps.data.shards import read_shard
from eps.engine.checkpoint import ResumeFile, load_classifier_for, load_segmenter
from eps.errors import UserError
from eps.nn.backbone import Backbone
from eps.nn.weights import read_state_dict

ROOT = Path(eps.__file__).parents[1]
SOURCES = [path for folder in ("eps", "stages", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.place),)


def initial_weights(path: Path) -> None:
    load_initial_weights(Backbone(name="test_efficientnet"), name="test_efficientnet", source=f"file:{path}")


READERS: dict[str, Callable[[Path], Any]] = {
    "a state dict": lambda path: read_state_dict(path, setting="weights"),
    "initial weights": initial_weights,
    "a classifier": lambda path: load_classifier_for(path, ("a", "b")),
    "a segmenter": load_segmenter,
    "any network": eps.load,
    "a released network": lambda path: load_released("yolact_base", path),
    "a state to resume from": lambda path: ResumeFile(path, fingerprint="a").restore(),
}


def plant_checkpoint(path: Path, evil: Evil, *, zipped: bool) -> None:
    torch.save({"state_dict": {"weight": evil}, "fingerprint": "a"}, path, _use_new_zipfile_serialization=zipped)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_checkpoint(tmp_path: Path, reader: str, form: str) -> None:
    place, path = tmp_path / "made by the file", tmp_path / "yolact_base_54_800000.pth"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Evil(place)))
    else:
        plant_checkpoint(path, Evil(place), zipped=form == "zip")
    with pytest.raises(UserError) as refusal:
        READERS[reader](path)
    assert "\n" not in str(refusal.value)
    assert not place.exists()


def test_cls_labels(tmp_path: Path) -> None:
    place, path = tmp_path / "made by the file", tmp_path / "cls_labels.npy"
    np.save(path, np.array({"photo": Evil(place)}, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="which no array needs; nothing of it was run"):
        read_cls_labels(path, classes=20)
    assert not place.exists()


def test_stored_scores(tmp_path: Path) -> None:
    place, path = tmp_path / "made by the file", tmp_path / "a.npz"
    np.savez(path, scores=np.array([Evil(place)]), present=np.zeros(1), shape=np.array([1, 1, 1]), allow_pickle=True)
    with pytest.raises(UserError, match="is damaged"):
        read_scores(path)
    assert not place.exists()


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What there is once Pillow has started Ghostscript: one of ours comes first."""
    program, place = tmp_path / "bin" / "gs", tmp_path / "made by the file"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{place}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # where it has looked for it before
    return place


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("reader", [read_image, check_image, read_image_size, read_mask])
def test_photo_that_is_a_program(tmp_path: Path, ghostscript: Path, reader: Callable[[Path], object]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(UserError, match=r"a\.jpg cannot be read as an image: it is none of JPEG, "):
        reader(path)
    assert not ghostscript.exists()


def test_photo_in_a_shard_that_is_a_program(tmp_path: Path, ghostscript: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("a.jpg", POSTSCRIPT), ("a.json", b'["train"]')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (photo,) = read_shard(tmp_path / "a.tar", ("train",))
    assert photo.image is None
    assert "its photo cannot be read as an image" in photo.fault
    assert not ghostscript.exists()


def test_postscript_is_what_it_claims(tmp_path: Path, ghostscript: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(POSTSCRIPT)
    with Image.open(tmp_path / "a.jpg") as image, suppress(OSError):
        image.load()
    assert ghostscript.exists()


def test_images_are_opened_in_one_place() -> None:
    """Which says by whose readers."""
    found = []
    for path in (ROOT / "eps").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.module == "PIL.Image")
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open"):
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                found.append((path.relative_to(ROOT).as_posix(), given.get("formats")))
    assert found == [("eps/data/images.py", "FORMATS")]


def test_planted_files_are_what_they_claim(tmp_path: Path) -> None:
    """Whoever reads them carelessly runs them."""
    plant_checkpoint(tmp_path / "a.pth", Evil(tmp_path / "made"), zipped=True)
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert (tmp_path / "made").exists()


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, object]]]:
    """Every call: what is called, as it is written, and the settings that are constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {k.arg: k.value.value for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)}
            yield ast.unparse(node.func), given


def unsafe(name: str, given: dict[str, object]) -> bool:
    last = name.rpartition(".")[2]
    return (
        name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load")
        or name.startswith(("pickle.load", "marshal.", "shelve.", "dill.", "joblib.load"))
        or (name == "torch.load" and given.get("weights_only") is not True)
        or (name in ("np.load", "numpy.load") and given.get("allow_pickle") is not False)
        or (last in ("extractall", "extract", "unpack_archive") and given.get("filter") != "data")
        or given.get("shell") is True
        or last in ("instantiate", "get_class", "get_method")
    )


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "pickle.loads(content)",
        "tar.extractall(place)",
        "subprocess.run(text, shell=True)",
        "hydra.utils.instantiate(node)",
    ],
)
def test_the_search_finds(line: str) -> None:
    assert any(unsafe(*call) for call in calls(ast.parse(line)))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_source_has_no_door(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [name for name, given in calls(ast.parse(text)) if unsafe(name, given)] == []
    if path.name != "cli.py":  # hydra's own way to find the callback that we register
        assert "_target_" not in text
    if path.name != "cls_labels.py":  # which takes the reader apart
        assert "import pickle" not in text
