"""16 bits from the command line: pseudo-masks and predictions are almost those of 32."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from eps import predict, pseudo_masks
from eps.cli import call
from eps.data.artifacts import read_mask

pytestmark = pytest.mark.slow

HALF = "runtime.precision=bf16"


def test_pseudo_masks(dataset: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "classifier", tmp_path / "run" / "classifier")
    settings = ("experiment=tiny", f"data.root={dataset}", f"run_dir={tmp_path / 'run'}", "pseudo_masks.threshold=0.5")
    call(pseudo_masks.run, *settings, HALF)
    made = sorted((tmp_path / "run" / "pseudo_masks" / "masks").iterdir())
    half = {path.name: read_mask(path) for path in made}
    call(pseudo_masks.run, *settings)  # other maps: nothing is found up to date
    full = {path.name: read_mask(path) for path in made}
    assert len(half) == 12
    equal = [(half[name] == full[name]).ravel() for name in full]
    assert np.concatenate(equal).mean() >= 0.99


@pytest.mark.parametrize("calibrate", [True, False])
def test_predictions(
    dataset: Path, own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], calibrate: bool
) -> None:
    settings = ("experiment=tiny", f"data.root={dataset}", f"run_dir={own_run}", "format=png")
    masks = own_run / "predictions" / "png"
    call(predict.run, *settings)
    full = {path.name: read_mask(path) for path in masks.glob("*.png")}
    capsys.readouterr()
    call(predict.run, *settings, HALF, f"runtime.calibrate={calibrate}")
    assert ("network in" in capsys.readouterr().err) == calibrate
    half = {path.name: read_mask(path) for path in masks.glob("*.png")}
    assert len(full) == 4
    equal = [(half[name] == full[name]).ravel() for name in full]
    assert np.concatenate(equal).mean() > 0.95  # of a network that has hardly learnt
