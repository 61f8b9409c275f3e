import math
from hashlib import sha256
from pathlib import Path

import pytest

from eps.data.artifacts import read_json
from eps.data.manifest import SCORES, Recorder, intact
from eps.errors import UserError


def make(folder: Path, *, fingerprint: str = "a", score: float = 0.5) -> Recorder:
    recorder = Recorder(folder, fingerprint=fingerprint)
    with recorder.writing() as target:
        (target / "model").write_text(fingerprint)
        recorder.record(target, score=score, config={"steps": 3}, threshold=0.4)
    return recorder


def test_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "classifier"
    make(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "model", "run.json"]
    content = read_json(folder / "manifest.json")
    assert content.pop("version")
    assert content.pop("files") == {"model": {"size": 1, "sha256": sha256(b"a").hexdigest()}}
    assert content == {"fingerprint": "a", "score": 0.5, "config": {"steps": 3}, "threshold": 0.4}


def test_what_differs_from_run_to_run_stands_apart(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two")
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "two/manifest.json").read_bytes()
    facts = read_json(tmp_path / "one/run.json")
    assert facts["seconds"] >= 0
    assert {"python", "torch", "machine"} <= set(facts)


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
