"""python -m eps.verify: what of a finished run no longer is what its manifests say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eps import evaluate, train_cls, verify
from eps.data.artifacts import read_json

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str]]


def changed(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**read_json(path), **changes}))


def test_as_it_was(own_run: Path, command: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in own_run.rglob("*")}
    code, text = command(verify.main, str(own_run))
    assert code == 0
    assert [line.split(": ")[1] for line in text.splitlines()] == ["as its manifest says"] * 3
    assert {path: path.stat().st_mtime_ns for path in own_run.rglob("*")} == before
    assert command(verify.main, f"run_dir={own_run.parent}/own run")[0] == 0


def test_what_no_longer_matches(own_run: Path, command: Command) -> None:
    masks = own_run / "pseudo_masks" / "masks"
    (masks / "train_00001.png").unlink()
    shutil.copy(masks / "train_00002.png", masks / "more.png")
    weights = own_run / "segmenter" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, text = command(verify.main, str(own_run))
    assert code == 2
    line = text.splitlines()[-1]
    assert line.startswith(f"error: {own_run}: ")
    told = line.removeprefix(f"error: {own_run}: ").split("; ")
    assert told == [
        f"{masks}/train_00001.png is missing",
        f"{masks}/more.png is not in its manifest",
        f"{weights} has another content than its manifest says",
    ]


def test_edited_records(own_run: Path, command: Command) -> None:
    """Numbers that somebody has made nicer, in a manifest, a table of scores and its photos."""
    changed(own_run / "classifier" / "manifest.json", score=0.99)
    scores = own_run / "evaluation" / "segmenter.json"
    changed(scores, splits=read_json(scores)["splits"] | {"val": {"miou": 99.9}})
    (own_run / "evaluation" / "pseudo_masks_photos.csv").write_text("photo,miou\n")
    (own_run / "segmenter" / "manifest.json").unlink()
    code, text = command(verify.main, str(own_run))
    assert code == 2
    assert text.splitlines()[-1].removeprefix(f"error: {own_run}: ").split("; ") == [
        f"{own_run}/classifier/manifest.json has been edited",
        f"{own_run}/segmenter has no manifest.json: nothing is known of what lies there",
        f"{own_run}/evaluation/pseudo_masks_photos.csv is not as pseudo_masks.json says",
        f"{own_run}/evaluation/segmenter.json has been edited",
    ]


def test_one_run_whatever_it_is_called(own_run: Path, command: Command, tmp_path: Path) -> None:
    other = own_run.rename(tmp_path / "lr=0.1")
    assert command(verify.main, str(other))[0] == 0
    code, text = command(verify.main, str(other), str(tmp_path / "more"))
    assert (code, text) == (2, f"error: {other} {tmp_path / 'more'}: one run at a time\n")


def test_made_from_others(own_run: Path, dataset: Path, command: Command) -> None:
    """Another classifier came after what was made from the first one, other masks after the segmenter."""
    settings = ("experiment=tiny", f"data.root={dataset}", f"run_dir={own_run}")
    assert command(train_cls.main, *settings, "seed=1")[0] == 0
    changed(own_run / "pseudo_masks" / "manifest.json", files={})
    for path in (own_run / "pseudo_masks").rglob("*.*"):
        if path.name not in ("manifest.json", "run.json"):
            path.unlink()
    changed(own_run / "evaluation" / "segmenter.json", fingerprint="another")
    code, text = command(verify.main, str(own_run))
    assert code == 2
    line = text.splitlines()[-1]
    for artifact in ("pseudo_masks", "segmenter"):
        assert f"{own_run}/{artifact} was made from another {own_run}/classifier/model.safetensors than lies" in line
    assert f"{own_run}/segmenter was made from other masks than {own_run}/pseudo_masks holds" in line
    assert f"evaluation/segmenter.json holds scores of another segmenter than lies in {own_run}/segmenter" in line


def test_jobs_of_a_run(own_run: Path, finished: Path, command: Command) -> None:
    """A job's artifacts are compared with the job's own inputs; what a stopped run has left is passed over."""
    shutil.copytree(finished / "pseudo_masks", own_run / "crf" / "pseudo_masks")
    shutil.copytree(finished / "classifier", own_run / ".classifier.abc")
    (own_run / ".classifier.abc" / "model.safetensors").unlink()
    assert command(verify.main, str(own_run))[0] == 0
    shutil.copytree(finished / "segmenter", own_run / "crf" / "classifier")
    code, text = command(verify.main, str(own_run))
    assert (code, "crf/pseudo_masks was made from another" in text) == (2, True)


@pytest.mark.parametrize("name", ["no run", "it's, [not] {a} run"])
def test_no_run(tmp_path: Path, command: Command, name: str) -> None:
    code, text = command(verify.main, str(tmp_path / name))
    assert code == 2
    assert (
        text
        == f"error: {tmp_path / name} holds no manifest: give the folder of a run, python -m eps.verify runs/NAME\n"
    )


def test_every_manifest_names_what_made_it(finished: Path) -> None:
    for artifact in ("classifier", "pseudo_masks", "segmenter"):
        content = read_json(finished / artifact / "manifest.json")
        assert set(content["made_by"]) == {"version", "commit", "python", "libraries", "hardware"}
        assert content["skipped"] == {}
        assert content["config"]
        assert all(len(value) == 64 for value in content["inputs"].values())
        assert {"data"} < set(content["inputs"]) or artifact == "classifier"
    assert set(read_json(finished / "segmenter" / "manifest.json")["inputs"]) == {
        "data",
        "masks",
        "pseudo_masks",
        "classifier/model.safetensors",
    }
    assert read_json(finished / "classifier" / "manifest.json")["trunk"]["backbone"]
    assert read_json(finished / "evaluation" / "segmenter.json")["made_by"]["version"]


def test_scores_of_other_masks_concern_no_artifact(own_run: Path, dataset: Path, command: Command) -> None:
    folder = dataset / "SegmentationClass"
    given = (f"predictions={folder}", f"truth={folder}", "classes=5", f"run_dir={own_run}")
    assert command(evaluate.main, "experiment=tiny", *given)[0] == 0
    assert command(verify.main, str(own_run))[0] == 0
