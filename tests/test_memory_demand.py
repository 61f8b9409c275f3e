"""A run that does not fit is refused before it starts, with what would fit."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from eps import build
from eps.cli import compose
from eps.errors import UserError
from eps.memory_demand import demand_for_maps, demand_for_training

CPU = torch.device("cpu")


def settings(limit: float, *more: str) -> tuple[str, ...]:
    return ("experiment=tiny", f"runtime.memory_limit={limit}", *more)


def test_training_names_the_passes_that_fit() -> None:
    cfg = compose(*settings(100, "classifier.batch=64"))
    model, _ = build.classifier(cfg, ("a", "b"))
    demand_for_training(cfg, cfg.classifier, model, CPU)
    small = compose(*settings(0.05, "classifier.batch=64"))
    words = r"classifier\.batch=64: a step needs about 0\.\d+ GiB, of 0\.05 on cpu; runtime\.accumulate=(\d+) fits"
    with pytest.raises(UserError, match=words) as refused:
        demand_for_training(small, small.classifier, model, CPU)
    parts = int(str(refused.value).partition("accumulate=")[2].split()[0])
    fitting = compose(*settings(0.05, "classifier.batch=64", f"runtime.accumulate={parts}"))
    demand_for_training(fitting, fitting.classifier, model, CPU)
    off = compose(*settings(-1, "classifier.batch=64"))
    demand_for_training(off, off.classifier, model, CPU)


def test_training_that_no_division_helps() -> None:
    cfg = compose(*settings(1e-4))
    model, _ = build.segmenter(cfg, ("a", "b"))
    with pytest.raises(UserError, match=r"segmenter\.batch=4: .*no photo alone fits: take a smaller size or network"):
        demand_for_training(cfg, cfg.segmenter, model, CPU)


def test_maps_of_the_largest_photo(tmp_path: Path) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    Image.new("RGB", (64, 48)).save(small)
    Image.new("RGB", (640, 480)).save(large)
    cfg = compose(*settings(0.12, "pseudo_masks.scales=[0.5,1,4]"))
    model, _ = build.classifier(cfg, ("a", "b"))
    demand_for_maps(cfg, model, [small], CPU)
    demand_for_maps(cfg, model, [], CPU)
    with pytest.raises(
        UserError,
        match=rf"pseudo_masks\.scales=.*{large} of 640x480 needs about .* GiB, of 0\.12 on cpu; scales up to 1",
    ):
        demand_for_maps(cfg, model, [small, large], CPU)
    off = compose(*settings(-1, "pseudo_masks.scales=[0.5,1,4]"))
    demand_for_maps(off, model, [small, large], CPU)
