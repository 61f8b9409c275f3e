"""Verbs that would not fit say so before they start."""

from pathlib import Path

import pytest

from eps import pseudo_masks, train_cls
from eps.cli import call
from eps.errors import UserError

pytestmark = pytest.mark.slow


def test_a_step_that_does_not_fit(dataset: Path, tmp_path: Path) -> None:
    arguments = ("experiment=tiny", f"data.root={dataset}", f"run_dir={tmp_path}", "runtime.memory_limit=0.006")
    with pytest.raises(UserError, match=r"classifier\.batch=4: a step needs about .*; runtime\.accumulate=2 fits"):
        call(train_cls.run, *arguments)
    assert not list(tmp_path.iterdir())
    call(train_cls.run, *arguments, "runtime.accumulate=2")


def test_maps_that_do_not_fit(dataset: Path, finished: Path, tmp_path: Path) -> None:
    arguments = ("experiment=tiny", f"data.root={dataset}", f"run_dir={finished}", f"out_dir={tmp_path}")
    scales = "pseudo_masks.scales=[1,16]"
    with pytest.raises(UserError, match=r"pseudo_masks\.scales=\[1\.0,16\.0\]: .* of 64x64 .*; scales up to 1 fit"):
        call(pseudo_masks.run, *arguments, scales, "runtime.memory_limit=0.03")
    assert not list(tmp_path.iterdir())
