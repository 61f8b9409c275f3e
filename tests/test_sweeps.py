"""Multiruns on engines of others: each job ends by itself, and a stopped sweep goes on."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from eps import cli
from eps.errors import UserError
from eps.sweep_report import read_records

VERB = '''
"""Higher the nearer the rate is to 0.01; not at all for seed 2. Counts how often it has been asked."""

import math

from eps.cli import entrypoint
from eps.errors import UserError
from eps.schema import Config, Result


def run(cfg: Config) -> Result:
    if cfg.seed == 2:
        raise UserError("two is too much")
    folder = cfg.output("square")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "asked.txt").open("a") as file:
        file.write("once\\n")
    return Result(score=-(math.log10(cfg.classifier.optim.lr / 0.01) ** 2), path=folder)


if __name__ == "__main__":
    entrypoint(run)()
'''


def run_verb(folder: Path, *arguments: str) -> int:
    """A verb in a process of its own: engines hand it on to others, which a test's import hook would hinder."""
    (folder / "verb.py").write_text(VERB)
    command = [sys.executable, "verb.py", "hydra.sweep.dir=runs/default/sweeps/mine", *arguments]
    own = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True)
    assert done.stderr.count("Traceback") == 0, done.stderr
    return done.returncode


def sweep(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "runs/default/sweeps/mine/sweep.json").read_text())
    return content


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_jobs_in_other_processes(tmp_path: Path, launcher: str) -> None:
    """One that fails takes no other with it."""
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher")
    assert run_verb(tmp_path, "-m", f"sweep={launcher}", "seed=1,2,3") == 2
    jobs = sweep(tmp_path)["jobs"]
    assert [job["job"] for job in jobs] == [0, 1, 2]
    assert [job["error"] for job in jobs] == [None, "two is too much", None]
    for number in (0, 2):
        asked = tmp_path / f"runs/default/sweeps/mine/{number}/square/asked.txt"
        assert asked.read_text() == "once\n"


@pytest.mark.slow
@pytest.mark.release
def test_optuna_searches_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    space = ("classifier.optim.lr=tag(log,interval(1e-4,1.0))", "seed=choice(1,2)")
    arguments = ("-m", "sweep=optuna", *space)
    assert run_verb(tmp_path, *arguments, "hydra.sweeper.n_trials=3") == 2  # seed 2 fails
    first = sweep(tmp_path)["jobs"]
    assert {job["error"] for job in first} == {None, "two is too much"}
    assert run_verb(tmp_path, *arguments, "hydra.sweeper.n_trials=18") == 2
    jobs = sweep(tmp_path)["jobs"]
    assert [job["overrides"][:2] for job in jobs[:3]] == [job["overrides"][:2] for job in first]  # in the same folders
    assert len(jobs) == 18
    late = [job["error"] for job in jobs[10:]]
    assert late.count(None) > 5  # what fails is the worst, and so avoided
    assert abs(math.log10(_rate(jobs[sweep(tmp_path)["best"]])) + 2) < 0.5


def _rate(job: dict[str, Any]) -> float:
    (value,) = [override.partition("=")[2] for override in job["overrides"] if ".lr=" in override]
    return float(value)


@pytest.mark.parametrize(
    ("choice", "extra"), [("ray", "ray"), ("joblib", "sweep"), ("optuna", "optuna"), ("submitit_slurm", "sweep")]
)
def test_a_missing_engine_names_its_extra(choice: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra._internal.config_repository import ConfigRepository

    load, exists = ConfigRepository.load_config, ConfigRepository.config_exists

    def missing(path: str) -> bool:
        return path.startswith("hydra/") and path.endswith(f"/{choice}")

    def load_others(own: ConfigRepository, config_path: str) -> Any:
        return None if missing(config_path) else load(own, config_path)

    def other_exists(own: ConfigRepository, config_path: str) -> bool:
        return not missing(config_path) and exists(own, config_path)

    monkeypatch.setattr(ConfigRepository, "load_config", load_others)
    monkeypatch.setattr(ConfigRepository, "config_exists", other_exists)
    with pytest.raises(UserError, match=rf"{choice} is not installed: pip install 'eps-seg\[{extra}\]'"):
        cli.compose(f"sweep={choice}")


def test_slurm_is_asked_for_what_a_job_needs() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(cli.conf_dir()), version_base="1.3"):
        tree = compose("config", ["sweep=submitit_slurm"], return_hydra_config=True)
    HydraConfig.instance().set_config(tree)
    launcher = tree.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.gpus_per_node, launcher.max_num_timeout) == (1, 3)
    assert launcher.submitit_folder.startswith("runs/default/sweeps/")


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "result.json").write_text('{"job": 0}')
    with pytest.raises(UserError, match=r"0/result.json is not the record of a sweep's job: remove it"):
        read_records(tmp_path)
