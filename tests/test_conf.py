"""Every choice and every experiment of `conf/` makes a checked config."""

from pathlib import Path

import pytest
import yaml

from eps.cli import compose, conf_dir
from eps.schema import Config

CONF = conf_dir()
CHOICES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.glob("*/*.yaml"))
FOLDER = "data.root=photos"  # what data=folder leaves to the user
NETWORK = "saliency.model=network.onnx"  # and the choices of saliency that take a file

PLUGINS = {
    "sweep/joblib": "hydra_joblib_launcher",
    "sweep/optuna": "hydra_optuna_sweeper",
    "sweep/ray": "hydra_ray_launcher",
    "sweep/submitit_local": "hydra_submitit_launcher",
    "sweep/submitit_slurm": "hydra_submitit_launcher",
}
"""Choices that need one of the extras."""


def test_defaults_compose() -> None:
    cfg = compose()
    assert isinstance(cfg, Config)
    assert (cfg.name, cfg.run_dir, cfg.out_dir) == ("default", "runs/default", "runs/default")


@pytest.mark.parametrize("choice", CHOICES)
def test_choice_composes(choice: str) -> None:
    group, _, name = choice.partition("/")
    folder = [FOLDER] if choice in ("data/folder", "data/photos", "data/coco") else []
    if plugin := PLUGINS.get(choice):
        pytest.importorskip(f"hydra_plugins.{plugin}")
    network = [NETWORK] if group == "saliency" and name not in ("none", "rembg") else []
    compose(f"{group}={name}", *folder, *network)


def test_there_are_experiments() -> None:
    assert {"experiment/demo", "experiment/tiny"} <= set(CHOICES)


@pytest.mark.parametrize("experiment", [c for c in CHOICES if c.startswith("experiment/")])
def test_settings_win_over_experiments(experiment: str) -> None:
    cfg = compose(f"experiment={Path(experiment).name}", "name=mine", "classifier=cam", "classifier.steps=7")
    assert (cfg.name, cfg.classifier.kind, cfg.classifier.steps) == ("mine", "cam", 7)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.stem)
def test_conf_holds_values_and_a_comment(path: Path) -> None:
    text = path.read_text()
    assert "_target_" not in text
    assert isinstance(yaml.safe_load(text), dict)
    comments = [line for line in text.splitlines() if line.startswith("# ") and "@package" not in line]
    assert comments, "--help shows the first comment"
