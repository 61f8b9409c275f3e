"""Two processes do what one does: train to the same weights, label and predict to the same bytes, and go on."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eps import predict, pseudo_masks, train_cls, train_seg
from eps.cli import call, entrypoint
from eps.data.artifacts import read_json
from eps.errors import UserError
from eps.schema import Config, Result

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("together.py")
SETTINGS = ("trunk.frozen_norm=true", "classifier.optim.kind=sgd", "segmenter.optim.kind=sgd")
DROPPED = ("classifier.dropout=0.3", "runtime.checkpoint_every=1")


def _module(path: Path) -> Any:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


together = _module(SCRIPT)


def launched(folder: Path, *jobs: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Both processes have a log of their own below `folder`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = [str(SCRIPT), *map(json.dumps, jobs)]
    own = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run([*command, *script], cwd=folder, env=own, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def common(dataset: Path) -> tuple[str, ...]:
    return ("experiment=tiny", f"data.root={dataset}", *SETTINGS)


@pytest.fixture(scope="module")
def one(common: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes."""
    run = tmp_path_factory.mktemp("one")
    for verb in (train_cls, pseudo_masks, train_seg):
        call(verb.run, *common, f"run_dir={run}")
    for form in ("coco", "png"):
        call(predict.run, *predicting(common, run, run), f"format={form}")
    return run


def predicting(common: tuple[str, ...], run: Path, made: Path) -> tuple[str, ...]:
    limits = ("predict.batch=2", "segmenter.score_threshold=0.01", "source=split:train")
    return (*common, *limits, f"run_dir={run}", f"model={made / 'segmenter'}")


@pytest.fixture(scope="module")
def two(common: tuple[str, ...], one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes make of the same, each step from what one process has made before it."""
    run = tmp_path_factory.mktemp("two")
    for artifact in ("classifier", "pseudo_masks"):
        shutil.copytree(one / artifact, run / "later" / artifact)
    done = launched(
        run,
        ["check_ranks", str(run)],
        ["check_training", str(run)],
        ["train_cls", *common, f"run_dir={run}"],
        ["train_cls", *common, *DROPPED, f"run_dir={run / 'dropped'}"],
        ["pseudo_masks", *common, f"run_dir={run}", f"model={one / 'classifier'}"],
        ["train_seg", *common, f"run_dir={run / 'later'}", "runtime.accumulate=2"],
        *(["predict", *predicting(common, run, one), f"format={form}"] for form in ("coco", "png")),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("classifier: ") == 2  # two runs, each told once
    return run


def assert_same_training(one: Path, two: Path) -> None:
    """To the rounding of sums in another order: some 1e-7 of numbers that training moves by 1e-3 and more."""
    weights, others = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-4, atol=1e-6)
    histories = [read_json(folder / "manifest.json")["history"] for folder in (one, two)]
    for terms, same in zip(*histories, strict=True):
        assert same == pytest.approx(terms, rel=1e-4)


def test_two_processes_train_a_classifier_as_one(one: Path, two: Path) -> None:
    assert_same_training(one / "classifier", two / "classifier")


def test_two_processes_in_two_passes_train_a_segmenter_as_one(one: Path, two: Path) -> None:
    """Its photos have unlike numbers of positive anchors, and of pixels that count."""
    assert_same_training(one / "segmenter", two / "later" / "segmenter")


def test_passes_of_one_process_are_one_step(common: tuple[str, ...], one: Path, tmp_path: Path) -> None:
    shutil.copytree(one / "pseudo_masks", tmp_path / "pseudo_masks")
    shutil.copytree(one / "classifier", tmp_path / "classifier")
    call(train_seg.run, *common, f"run_dir={tmp_path}", "runtime.accumulate=4")
    assert_same_training(one / "segmenter", tmp_path / "segmenter")


def test_training_is_the_same_with_skipped_steps_and_parts_left_out(two: Path, tmp_path: Path) -> None:
    weights, history = read_json(two / "training.json")
    model, alone = together.fit(tmp_path)
    assert [terms["loss"] for terms in history] == pytest.approx([terms["loss"] for terms in alone])
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(torch.tensor(weights[name]), tensor)
    torch.manual_seed(0)
    start = together.Network()
    assert torch.equal(model.unused.weight, start.unused.weight)  # no gradient: no decay either
    assert not torch.equal(model.outside.weight, start.outside.weight)


@pytest.mark.parametrize("folder", ["pseudo_masks", "predictions/png", "predictions/coco"])
def test_two_processes_write_the_same_bytes_as_one(one: Path, two: Path, folder: str) -> None:
    names = [path.relative_to(one) for path in sorted((one / folder).rglob("*")) if path.is_file()]
    assert len(names) >= 3
    for name in names:
        if name.name not in ("run.json", "manifest.json"):
            assert (two / name).read_bytes() == (one / name).read_bytes(), name
    assert {path.relative_to(two) for path in (two / folder).rglob("*") if path.is_file()} == set(names)
    manifests = [read_json(run / folder / "manifest.json") for run in (one, two)]
    assert manifests[0]["files"] == manifests[1]["files"]
    assert manifests[0]["score"] == manifests[1]["score"]
    if folder.endswith("coco"):
        assert len(read_json(one / folder / "results.json")) > 12


def test_a_killed_rank_ends_the_job_which_then_goes_on(common: tuple[str, ...], two: Path, tmp_path: Path) -> None:
    """To the same bytes, though each process draws its own dropout."""
    job = ["train_cls", *common, *DROPPED, f"run_dir={tmp_path}"]
    done = launched(tmp_path, job, KILL_AT="2")
    assert done.returncode != 0
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert torch.load(tmp_path / "classifier.resume.pt", weights_only=True)["step"] == 2
    assert not (tmp_path / "classifier").exists()
    done = launched(tmp_path, job)
    assert done.returncode == 0, done.stderr
    assert "2/4" not in done.stderr
    made, whole = (run / "classifier" / "model.safetensors" for run in (tmp_path, two / "dropped"))
    assert made.read_bytes() == whole.read_bytes()


def test_a_batch_that_cannot_be_divided(common: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"classifier\.batch=4: 1 processes x runtime\.accumulate=3 need a multiple"):
        call(train_cls.run, *common, f"run_dir={tmp_path}", "runtime.accumulate=3")


@pytest.mark.parametrize(
    ("many", "arguments", "words"), [(False, [], "WORLD_SIZE=2: only one process"), (True, ["-m"], "-m: the jobs of")]
)
def test_what_one_process_alone_may_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], many: bool, arguments: list[str], words: str
) -> None:
    def refuse(cfg: Config) -> Result:
        raise AssertionError("it has been started")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(sys, "argv", ["verb", *arguments])
    main: Callable[[], None] = entrypoint(refuse, many=many)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith(f"rank 1: error: {words}")
