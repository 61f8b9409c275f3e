"""Truth is never read by a step that trains or labels: without it everything comes out the same, byte for byte."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from eps.cli import call
from stages import stage2

pytestmark = pytest.mark.slow

TRUTH = ("SegmentationClass", "SegmentationObject", "SegmentationContext")
Contents = dict[str, str]


@pytest.fixture
def without_truth(own_dataset: Path) -> Path:
    for name in TRUTH:
        shutil.rmtree(own_dataset / name)
    return own_dataset


def test_stages_make_the_same_without_truth(
    finished: Path,
    without_truth: Path,
    tmp_path: Path,
    run_stages: Callable[..., None],
    contents: Callable[[Path], Contents],
) -> None:
    run = tmp_path / "run"
    run_stages(without_truth, run)
    made = contents(run)
    assert {path.partition("/")[0] for path in made} == {"classifier", "pseudo_masks", "segmenter"}
    assert made == contents(finished)
    assert not (run / "evaluation").exists()
    assert not any((without_truth / name).exists() for name in TRUTH)


def test_wrong_truth_changes_nothing(
    finished: Path, own_dataset: Path, tmp_path: Path, train: Callable[..., None], contents: Callable[[Path], Contents]
) -> None:
    for name in TRUTH:
        for path in (own_dataset / name).iterdir():
            path.write_bytes(b"no mask at all")
    train(own_dataset, tmp_path / "run")
    assert contents(tmp_path / "run") == contents(finished)


def test_a_sweep_without_truth_keeps_its_score(finished: Path, without_truth: Path, own_run: Path) -> None:
    """There is nothing to score by but agreement, even where truth was asked for."""
    arguments = ("experiment=tiny", "data=folder", f"data.root={without_truth}", f"run_dir={own_run}")
    assert call(stage2.run, *arguments, "sweep.score=truth") == call(stage2.run, *arguments)
