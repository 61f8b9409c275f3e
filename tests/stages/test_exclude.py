"""Photos that stage 3 leaves out by `segmenter.exclude`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eps import train_seg
from eps.cli import call
from eps.data.artifacts import read_json
from eps.errors import UserError

Command = Callable[..., tuple[int, str]]


def settings(dataset: Path, run: Path, excluded: Path | str) -> list[str]:
    return ["experiment=tiny", f"data.root={dataset}", f"run_dir={run}", f"segmenter.exclude={excluded}"]


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., Path]:
    def write(*ids: str) -> Path:
        path = tmp_path / "exclude.txt"
        path.write_text("".join(f"{photo}\n" for photo in ids))
        return path

    return write


def train_ids(dataset: Path) -> list[str]:
    return (dataset / "ImageSets" / "Segmentation" / "train.txt").read_text().split()


@pytest.mark.slow
def test_excluded_photos_are_not_trained_on(dataset: Path, own_run: Path, listed: Callable[..., Path]) -> None:
    """Their masks are not there any more, which else is an error."""
    bad = train_ids(dataset)[3:5]
    for photo in bad:
        (own_run / "pseudo_masks" / "masks" / f"{photo}.png").unlink()
    with pytest.raises(UserError, match=f"{bad[0]}.png is missing"):
        call(train_seg.run, *settings(dataset, own_run, ""))
    before = (own_run / "segmenter" / "model.safetensors").read_bytes()
    call(train_seg.run, *settings(dataset, own_run, listed(*bad)))
    manifest = read_json(own_run / "segmenter" / "manifest.json")
    assert manifest["excluded"] == 2
    assert (own_run / "segmenter" / "model.safetensors").read_bytes() != before


def test_an_empty_list_changes_nothing(dataset: Path, own_run: Path, listed: Callable[..., Path]) -> None:
    manifest = own_run / "segmenter" / "manifest.json"
    before = manifest.read_bytes()
    assert read_json(manifest)["excluded"] == 0
    call(train_seg.run, *settings(dataset, own_run, listed()))
    assert manifest.read_bytes() == before


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        (["{first}", "nobody"], "{path}: split 'train' has no photo 'nobody'; remove it from the list"),
        (None, "{path}: no such file; give a list of ids, one a line"),
        (["{all}"], "segmenter.exclude={path}: no photo of split 'train' is left to train on"),
    ],
)
def test_mistakes_are_one_line(
    dataset: Path,
    finished: Path,
    listed: Callable[..., Path],
    command: Command,
    tmp_path: Path,
    excluded: list[str] | None,
    expected: str,
) -> None:
    ids = train_ids(dataset)
    if excluded is not None:
        listed(*(line.format(first=ids[0], all="\n".join(ids)) for line in excluded))
    path = tmp_path / "exclude.txt"
    code, told = command(train_seg.main, *settings(dataset, finished, path))
    assert (code, told) == (2, f"error: {expected.format(path=path)}\n")
