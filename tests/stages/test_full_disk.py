"""A disk that is full, at every stage: one line, nothing half-written, and what was there goes on as it was."""

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from eps import evaluate, pseudo_masks, report, train_cls, train_seg

pytestmark = pytest.mark.slow


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: what writes gets the system's own error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(run: Path) -> dict[str, bytes]:
    """But for finished photos of an unfinished stage 2, which are kept on purpose."""
    found = {path.relative_to(run): path for path in run.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in found.items() if name.parts[0] != "pseudo_masks.resume"}


@pytest.mark.parametrize(
    ("verb", "override", "limit", "what"),
    [
        (train_cls, "runtime.checkpoint_every=1", 20_000, "classifier.resume.pt"),
        (train_cls, "runtime.checkpoint_every=0", 20_000, "classifier/model.safetensors"),
        (pseudo_masks, "pseudo_masks.scales=[0.5]", 100, "pseudo_masks.resume/scores/"),
        (pseudo_masks, "pseudo_masks.min_area=5", 1_000, "pseudo_masks/"),
        (train_seg, "segmenter.steps=3", 20_000, "segmenter/model.safetensors"),
        (evaluate, "evaluate=segmenter", 100, "evaluation/segmenter.json"),
        (report, "seed=0", 1_000, "report"),
    ],
)
def test_one_line_and_everything_as_it_was(
    own_run: Path,
    dataset: Path,
    command: Callable[..., tuple[int, str]],
    verb: ModuleType,
    override: str,
    limit: int,
    what: str,
) -> None:
    if verb is train_cls:
        shutil.rmtree(own_run / "classifier")
    before = files(own_run)
    settings = ("experiment=tiny", f"data.root={dataset}", f"run_dir={own_run}", override)
    with full_disk(limit):
        code, text = command(verb.main, *settings)
    assert code == 2, text
    line = text.splitlines()[-1]
    assert line.startswith(f"error: {own_run}")
    assert what.split("/")[0] in line
    assert "cannot be written: File too large; " in line
    assert files(own_run) == before
    assert [path.name for path in own_run.iterdir() if path.name.startswith(".")] == []


def test_with_space_again_it_goes_on(
    finished: Path,
    dataset: Path,
    tmp_path: Path,
    command: Callable[..., tuple[int, str]],
    contents: Callable[[Path], dict[str, str]],
) -> None:
    settings = ("experiment=tiny", f"data.root={dataset}", f"run_dir={tmp_path / 'run'}", "runtime.checkpoint_every=1")
    with full_disk(20_000):
        assert command(train_cls.main, *settings)[0] == 2
    assert command(train_cls.main, *settings)[0] == 0
    expected = {name: digest for name, digest in contents(finished).items() if name.startswith("classifier/")}
    assert contents(tmp_path / "run") == expected
