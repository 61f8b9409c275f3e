import json
import math
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eps.data.artifacts import read_json
from eps.data.manifest import SCORES, Recorder, contents_hash, faults_of_artifact, foreign_files, intact, typed_settings
from eps.errors import UserError


def make(
    folder: Path, *, fingerprint: str = "a", score: float = 0.5, settings: Sequence[str] | None = None
) -> Recorder:
    recorder = Recorder(folder, fingerprint=fingerprint)
    with recorder.writing() as target:
        (target / "model").write_text(fingerprint)
        recorder.record(target, score=score, config={"steps": 3}, settings=settings, threshold=0.4)
    return recorder


def test_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "classifier"
    make(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "model", "run.json"]
    content = read_json(folder / "manifest.json")
    assert content.pop("made_by")["libraries"]["torch"] == torch.__version__
    assert len(content.pop("seal")) == 64
    assert content.pop("files") == {"model": {"size": 1, "sha256": sha256(b"a").hexdigest()}}
    assert content == {
        "fingerprint": "a",
        "score": 0.5,
        "config": {"steps": 3},
        "inputs": {},
        "skipped": {},
        "threshold": 0.4,
    }


def test_what_differs_from_run_to_run_stands_apart(tmp_path: Path) -> None:
    make(tmp_path / "one", settings=["steps=3", "run_dir=a b"])
    make(tmp_path / "two")
    make(tmp_path / "three", settings=[])
    assert typed_settings(tmp_path / "three") == []
    assert typed_settings(tmp_path / "one") == ["steps=3", "run_dir=a b"]
    assert typed_settings(tmp_path / "two") == typed_settings(tmp_path / "none") is None
    (tmp_path / "two/run.json").write_text('{"settings": [1, {}], "seconds": 1}')
    assert typed_settings(tmp_path / "two") == []
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "two/manifest.json").read_bytes()
    assert read_json(tmp_path / "one/run.json")["seconds"] >= 0


def test_finished(tmp_path: Path) -> None:
    folder = tmp_path / "classifier"
    assert Recorder(folder, fingerprint="a").finished() is None
    make(folder, score=0.25)
    assert Recorder(folder, fingerprint="a").finished() == 0.25
    assert Recorder(folder, fingerprint="b").finished() is None


@pytest.mark.parametrize("content", [None, "b", "longer"])
def test_changed_or_missing_file_is_not_finished(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "classifier"
    make(folder)
    if content is None:
        (folder / "model").unlink()
    else:
        (folder / "model").write_text(content)
    assert Recorder(folder, fingerprint="a").finished() is None


def test_scores_are_known_by_their_size(tmp_path: Path) -> None:
    folder = tmp_path / "pseudo_masks"
    recorder = make(folder)
    assert not intact(folder, under=SCORES)
    with recorder.writing() as target:
        (target / "scores").mkdir()
        (target / "scores" / "a.npz").write_text("abc")
        (target / "mask").write_text("a")
        recorder.record(target, score=1.0, config={})
    (folder / "mask").write_text("b")
    assert not intact(folder)
    assert intact(folder, under=SCORES)
    (folder / "scores" / "a.npz").write_text("ab")
    assert not intact(folder, under=SCORES)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_score_that_is_none(tmp_path: Path, score: float) -> None:
    """JSON knows no nan; the run is finished all the same."""
    make(tmp_path / "classifier", score=score)
    assert "NaN" not in (tmp_path / "classifier/manifest.json").read_text()
    earlier = Recorder(tmp_path / "classifier", fingerprint="a").finished()
    assert earlier is not None
    assert math.isnan(earlier)


def test_score_of_zero_is_finished(tmp_path: Path) -> None:
    make(tmp_path / "classifier", score=0.0)
    assert Recorder(tmp_path / "classifier", fingerprint="a").finished() == 0


def test_failed_run_leaves_the_last_one(tmp_path: Path) -> None:
    folder = tmp_path / "classifier"
    make(folder)
    recorder = Recorder(folder, fingerprint="b")

    def fail() -> None:
        with recorder.writing() as target:
            recorder.record(target, score=1.0, config={})
            raise UserError("no")

    with pytest.raises(UserError):
        fail()
    assert Recorder(folder, fingerprint="a").finished() == 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["classifier"]


def test_broken_manifest(tmp_path: Path) -> None:
    make(tmp_path / "classifier")
    (tmp_path / "classifier/manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json is not JSON"):
        Recorder(tmp_path / "classifier", fingerprint="a").finished()


def test_what_no_longer_matches(tmp_path: Path) -> None:
    folder = tmp_path / "classifier"
    recorder = Recorder(folder, fingerprint="a")
    with recorder.writing() as target:
        for name in ("same", "longer", "other", "gone"):
            (target / name).write_text(name)
        recorder.record(target, score=0.5, config={})
    assert faults_of_artifact(folder) == []
    (folder / "longer").write_text("longer still")
    (folder / "other").write_text("rehto")
    (folder / "gone").unlink()
    (folder / "new").touch()
    assert foreign_files(folder) == ["longer", "new", "other"]
    found = [line.removeprefix(f"{folder}/") for line in faults_of_artifact(folder)]
    assert sorted(found) == [
        "gone is missing",
        "longer has 12 bytes, its manifest says 6",
        "new is not in its manifest",
        "other has another content than its manifest says",
    ]
    with pytest.raises(UserError, match=r"nowhere/manifest\.json is missing"):
        faults_of_artifact(tmp_path / "nowhere")
    assert foreign_files(tmp_path / "nowhere") == []
    (folder / "manifest.json").unlink()
    assert foreign_files(folder) == ["longer", "new", "other", "same"]


def test_contents_are_known_whoever_made_them(tmp_path: Path) -> None:
    assert contents_hash(tmp_path) is None
    hashes = []
    for name, text in (("one", "a"), ("two", "a"), ("three", "b")):
        recorder = Recorder(tmp_path / name, fingerprint=name)
        with recorder.writing() as target:
            (target / "mask").write_text(text)
            recorder.record(target, score=0.5, config={"name": name})
        hashes.append(contents_hash(tmp_path / name))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_killed_replacement_is_put_back(tmp_path: Path) -> None:
    make(tmp_path / "classifier")
    (tmp_path / "classifier").rename(tmp_path / ".classifier.abc.old")
    assert Recorder(tmp_path / "classifier", fingerprint="a").finished() == 0.5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["files", "fingerprint", "score", "size", "../x", "a"]), inner, max_size=4)
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=JSON.map(json.dumps).map(str.encode) | st.binary(max_size=50))
def test_fuzz(tmp_path: Path, content: bytes) -> None:
    """A manifest that says anything: finished, not finished, or one line."""
    (tmp_path / "manifest.json").write_bytes(content)
    for look in (Recorder(tmp_path, fingerprint="a").finished, lambda: faults_of_artifact(tmp_path)):
        with suppress(UserError):
            look()


@pytest.mark.parametrize("change", [{}, {"score": "high"}, {"score": [1]}, {"score": True}], ids=str)
def test_without_a_score_nothing_is_finished(tmp_path: Path, change: dict[str, object]) -> None:
    recorder = make(tmp_path / "classifier")
    content = read_json(path := tmp_path / "classifier" / "manifest.json")
    del content["score"]
    path.write_text(json.dumps({**content, **change}))
    assert recorder.finished() is None
