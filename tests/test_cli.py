"""The door, from command lines to exit codes, with verbs that do next to nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import run_job

from eps import cli
from eps.errors import UserError
from eps.schema import Config, Result
from eps.schema.classifier import ClassifierKind
from eps.schema.crf import CRFBackend

Command = Callable[..., int]


def double_seed(cfg: Config) -> Result:
    folder = cfg.output("seed").parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seed.txt").write_text(str(cfg.seed))
    return Result(score=2.0 * cfg.seed, path=folder)


def fail(cfg: Config) -> Result:
    raise UserError("data/tags.json is missing: run prepare\nfirst")


def fail_on_two(cfg: Config) -> Result:
    if cfg.seed == 2:
        raise UserError("two is too much")
    if cfg.seed == 3:
        raise ZeroDivisionError("three")
    return double_seed(cfg)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a verb with command-line arguments in an empty folder and returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def call(run: Callable[[Config], Result], *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["verb", *arguments])
        try:
            cli.entrypoint(run)()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return call


def sweep_folder(name: str = "default") -> Path:
    (folder,) = Path("runs", name, "sweeps").iterdir()
    return folder


def test_run_gets_a_typed_config(command: Command) -> None:
    seen: list[Config] = []

    def look(cfg: Config) -> Result:
        seen.append(cfg)
        return double_seed(cfg)

    assert command(look, "classifier=cam", "pseudo_masks=crf", "seed=3", "name=mine") == 0
    (cfg,) = seen
    assert isinstance(cfg, Config)
    assert cfg.classifier.kind is ClassifierKind.cam
    assert cfg.pseudo_masks.crf is CRFBackend.pydensecrf
    assert cfg.pseudo_masks.scales == [1.0, 1.5, 2.0]
    assert cfg.run_dir == cfg.out_dir == "runs/mine"


def test_paths_are_taken_as_they_are(command: Command) -> None:
    """Even where hydra's own grammar wants quotes; what was typed is known without those that it was given."""
    seen: list[Config] = []
    typed: list[tuple[str, ...]] = []

    def look(cfg: Config) -> Result:
        seen.append(cfg)
        typed.append(cli.started_with())
        return double_seed(cfg)

    path = "fotos/${name} ünï 日本, a=b (2024), it's"
    words = ("model=Müll (1)", "run='a'", "name=mine")
    assert command(look, "--config-dir", ".", f"source={path}", *words) == 0
    assert typed[0][1:] == (*words, "--config-dir", ".")
    assert seen[0].source == cli.compose(f"source={path}", "name=mine").source == path.replace("${name}", "mine")


def test_a_date_is_no_number(command: Command) -> None:
    assert cli.compose("name=2024_01_05").run_dir == "runs/2024_01_05"
    assert cli.compose("classifier.steps=1_000").classifier.steps == 1000


def test_no_job_is_unpickled(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(double_seed, "--experimental-rerun", str(tmp_path / "config.pickle")) == 2
    assert "unpickles a file, and with it whatever code it holds" in capfd.readouterr().err


def test_crf_is_a_choice_by_its_name() -> None:
    for backend in CRFBackend:
        assert cli.compose("pseudo_masks=crf", f"pseudo_masks.crf={backend}").pseudo_masks.crf is backend


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_unwritable_run_folder_is_one_line(command: Command, capfd: pytest.CaptureFixture[str], name: str) -> None:
    Path("file").touch()
    assert command(double_seed, f"run_dir={name}") == 2
    err = capfd.readouterr().err
    assert err.startswith(f"error: {name}: ")
    assert err.count("\n") == 1


def test_unwritable_folder_of_a_job_is_recorded(command: Command) -> None:
    def write(cfg: Config) -> Result:
        Path("file").touch()
        Path("file", "below").mkdir()
        return double_seed(cfg)

    assert command(write, "-m", "seed=1,2") == 2
    jobs = json.loads((sweep_folder() / "sweep.json").read_text())["jobs"]
    assert [job["error"] for job in jobs] == ["file/below: Not a directory"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["--help", "--cfg job"])
def test_reader_that_leaves_early_is_no_mistake(flags: str) -> None:
    verb = f"{sys.executable} -m eps.prepare {flags}"
    done = subprocess.run(["bash", "-c", f"{verb} | true"], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_single_run_leaves_only_what_the_verb_writes(command: Command) -> None:
    assert command(double_seed, "seed=3") == 0
    assert [str(p) for p in Path().rglob("*") if p.is_file()] == ["runs/default/seed.txt"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["clasifier.tau=0.3"], ["'clasifier.tau'", "did you mean classifier.tau?"]),
        (["clasifier=eps"], ["'clasifier'", "did you mean classifier?"]),
        (["steps=3"], ["'steps'", "classifier.steps or segmenter.steps"]),
        (["classifier.optim={lr: 1, foo: 2}"], ["'classifier.optim.foo'"]),
        (["+classifier.foo=1"], ["no such setting", "ClassifierConfig", "'foo'"]),
        (["~seed"], ["seed"]),
        (["classifier.tau=abc"], ["classifier.tau", "'abc'", "Float"]),
        (["classifier.kind=abc"], ["classifier.kind", "[eps, cam]"]),
        (["classifier=epss"], ["classifier=epss", "did you mean eps?", "one of cam, cls_resnet38, eps,"]),
        (["experiment=tinny"], ["experiment=tinny", "did you mean tiny?"]),
        (["data=folder"], ["data.root has no value", "data.root=..."]),
        (["seed=${nme}"], ["'nme' not found"]),
        (["pseudo_masks.scales=1,2"], ["pseudo_masks.scales=[1,2]", "add -m"]),
        (["segmenter.scales=[[24],[48],[96]]"], ["segmenter.scales[0]", "24.0"]),
        (["pseudo_masks.threshold=1.5"], ["pseudo_masks.threshold=1.5", "between 0 and 1"]),
        (["classifer"], ["'classifer'", "key=value"]),
        (["data.classes=[a,b"], ["'data.classes=[a,b'", "lists key=[a,b]"]),
        (["classifier.steps=3,seed=4"], ["classifier.steps", "'3,seed=4'", "Integer"]),
    ],
)
def test_config_mistake_is_one_line_that_names_it(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        cli.compose(*overrides)
    assert "\n" not in str(refusal.value)
    assert [word for word in words if word not in str(refusal.value)] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data=folder"], ["data.root has no value"]),
        (["--steps=3"], ["--steps=3", "key=value"]),
        (["--cfg", "job", "clasifier=eps"], ["'clasifier'"]),
        (["-m", "seed=1,2", "clasifier.tau=3"], ["'clasifier.tau'"]),
        (["-m", "seed=1,2", "classifier=eps,foo"], ["classifier=foo"]),
        (["-m", "pseudo_masks.threshold=0.2,1.5"], ["pseudo_masks.threshold=1.5"]),
    ],
)
def test_refusal_is_code_two_and_one_line_and_leaves_nothing(
    command: Command, capfd: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    assert command(double_seed, *arguments) == 2
    out, err = capfd.readouterr()
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert [word for word in words if word not in err] == []
    assert out == ""
    assert list(Path().iterdir()) == []


def test_broken_yaml_is_one_line(command: Command, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    extra = tmp_path / "extra" / "experiment"
    extra.mkdir(parents=True)
    (extra / "syntax.yaml").write_text("# @package _global_\nclassifier: {steps: [")
    (extra / "key.yaml").write_text("# @package _global_\nclassifier: {stepz: 3}\n")
    for choice, word in (("syntax", "syntax.yaml"), ("key", "conf experiment/key: no setting 'classifier.stepz'")):
        assert command(double_seed, "--config-dir", str(extra.parent), f"experiment={choice}") == 2
        err = capfd.readouterr().err
        assert word in err
        assert err.count("\n") == 1


def test_user_error_is_one_line_and_code_two(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(fail) == 2
    assert capfd.readouterr().err == "error: data/tags.json is missing: run prepare first\n"


def test_interruption_is_one_line(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(cfg: Config) -> Result:
        raise KeyboardInterrupt

    assert command(interrupt) == 130
    assert capfd.readouterr().err == "interrupted\n"


def test_unexpected_error_is_not_hidden(command: Command) -> None:
    with pytest.raises(ZeroDivisionError):
        command(fail_on_two, "seed=3")


def test_multirun_gives_each_job_a_folder_and_ends_with_a_table(
    command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs: set[Path] = set()
    typed: list[str] = []

    def read_input(cfg: Config) -> Result:
        inputs.add(cfg.input("classifier"))
        typed.extend(word for word in cli.started_with() if word.startswith(("seed", "-")))
        return double_seed(cfg)

    earlier = Path("runs/mine/classifier")
    earlier.mkdir(parents=True)
    assert command(read_input, "name=mine", "-m", "seed=4,6,5", "pseudo_masks.scales=[0.5,1]") == 0
    assert inputs == {earlier}
    assert typed == ["seed=4", "seed=6", "seed=5"]
    folder = sweep_folder("mine")
    assert [(folder / str(job) / "seed.txt").read_text() for job in range(3)] == ["4", "6", "5"]
    first = json.loads((folder / "0" / "result.json").read_text())
    assert first["score"] == 8.0
    assert set(first["overrides"]) == {"name=mine", "seed=4", "pseudo_masks.scales=[0.5,1]"}
    assert first["path"] == str(folder / "0")
    summary = json.loads((folder / "sweep.json").read_text())
    assert summary["best"] == 1
    assert [job["score"] for job in summary["jobs"]] == [8.0, 12.0, 10.0]
    rows = [line for line in capfd.readouterr().out.splitlines() if "seed=" in line and "│" in line]
    assert ["best" in row for row in rows] == [False, True, False]
    assert "12.0000" in rows[1]


def test_failed_job_is_recorded_and_the_others_go_on(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(fail_on_two, "-m", "seed=2,3,4") == 2
    jobs = json.loads((sweep_folder() / "sweep.json").read_text())["jobs"]
    assert [job["score"] for job in jobs] == [None, None, 8.0]
    assert [job["error"] for job in jobs] == ["two is too much", "ZeroDivisionError: three", None]
    out, err = capfd.readouterr()
    assert "failed: two is too much" in out
    assert "ZeroDivisionError" in err


def fork_jobs(launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
    """A launcher that gives each job a process of its own and loses what it returns, as clusters may."""
    for number, overrides in enumerate(job_overrides, start=initial_job_idx):
        job = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(overrides))
        job.hydra.job.id = job.hydra.job.num = number
        if (child := os.fork()) == 0:
            keys = ("hydra.sweep.dir", "hydra.sweep.subdir")
            run_job(launcher.task_function, job, *keys, hydra_context=launcher.hydra_context)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    return []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # python 3.12, where libraries have started threads
def test_jobs_of_other_processes_and_names_are_in_one_table(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BasicLauncher, "launch", fork_jobs)
    assert command(double_seed, "-m", "name=a,b", "seed=2") == 0
    assert [path.name for path in Path("runs").iterdir()] == ["default"]
    jobs = json.loads((sweep_folder() / "sweep.json").read_text())["jobs"]
    assert [job["score"] for job in jobs] == [4.0, 4.0]


def test_help_names_purpose_choices_and_outputs(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(double_seed, "--help") == 0
    out = capfd.readouterr().out
    assert "The door, from command lines to exit codes, with verbs that do next to nothing." in out
    assert "classifier=cam" in out
    assert re.search(r"railroad\* +the embedded benchmark", out)
    assert "runs/<name>/" in out
    assert "hydra" not in out.lower()
    assert max(len(line) for line in out.splitlines()) <= 120
    assert "'eps-seg[optuna]'" in out  # not cut in two


def test_help_of_settings(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    """By their group, a part of one or their name, with the values that the other words leave them."""
    assert command(double_seed, "--help", "classifier.optim", "data.root", "data=folder", "classifier.optim.lr=2") == 0
    out = capfd.readouterr().out
    assert out.startswith("classifier.optim.kind=adamw  (sgd, adamw)\n    The optimizer.\n")
    assert "classifier.optim.lr=2.0  (number)" in out
    assert "data.root=has to be given  (text)\n    The dataset's folder." in out
    assert "classifier.tau" not in out
    assert max(map(len, out.splitlines())) <= 118
    assert command(double_seed, "--help", "clasifier") == 2
    assert capfd.readouterr().err.startswith(
        "error: --help clasifier: no such settings; one of data, saliency, trunk, "
    )


def test_cfg_job_prints_the_config(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(double_seed, "--cfg", "job", "classifier=cam") == 0
    assert "kind: cam" in capfd.readouterr().out
    assert list(Path().iterdir()) == []


@pytest.mark.slow
def test_module_runs_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "verb.py").write_text(
        '"""Does nothing."""\n'
        "from pathlib import Path\n"
        "from eps.cli import entrypoint\n"
        "from eps.schema import Config, Result\n"
        "def run(cfg: Config) -> Result:\n"
        "    return Result(score=1 / cfg.seed, path=Path(cfg.out_dir))\n"
        "main = entrypoint(run)\n"
        'if __name__ == "__main__":\n'
        "    main()\n"
    )
    search = {"PYTHONPATH": str(Path(cli.__file__).parents[1])}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "verb", *arguments]
        return subprocess.run(words, cwd=tmp_path, env=os.environ | search, capture_output=True, text=True, check=False)

    assert python("--help").stdout.startswith("python -m verb ")
    crashed = python("seed=0")
    assert crashed.returncode == 1
    assert "ZeroDivisionError" in crashed.stderr


def vary(cfg: Config) -> Result:
    baseline = cli.variant("classifier=cam", f"name={cfg.name}/cam")
    assert baseline.classifier.kind is ClassifierKind.cam
    assert baseline.seed == cfg.seed  # the job's own settings hold
    assert baseline.run_dir == f"{cfg.run_dir}/cam"
    assert baseline.out_dir == f"{cfg.out_dir}/cam"
    assert cli.variant() == cfg
    return double_seed(cfg)


def test_variant_in_a_single_run(command: Command) -> None:
    assert command(vary, "seed=7", "name=mine") == 0


def test_variant_in_a_multirun_writes_into_the_job(command: Command) -> None:
    assert command(vary, "-m", "seed=7") == 0
    assert (sweep_folder() / "0" / "seed.txt").exists()


def test_variant_in_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.call(vary, "seed=7") == Result(score=14.0, path=Path("runs/default"))
    assert cli.variant() == cli.compose()  # nothing of the call remains
