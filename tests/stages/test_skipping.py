"""data.on_error=skip: all stages on a dataset with faults, and what was left out is listed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from eps import prepare, train_cls
from eps.data.artifacts import read_json, write_json

pytestmark = pytest.mark.slow


@pytest.fixture
def faulty(own_dataset: Path) -> Path:
    """Three of twelve training photos and one of four others cannot be used."""
    (own_dataset / "JPEGImages" / "train_00001.jpg").write_bytes(b"half")
    (own_dataset / "SALImages" / "train_00004.png").unlink()
    (own_dataset / "JPEGImages" / "val_00002.jpg").unlink()
    content = read_json(own_dataset / "image_labels.json")
    content["labels"]["train_00007"] = ["unicorn"]
    write_json(own_dataset / "image_labels.json", content)
    return own_dataset


def test_all_stages(faulty: Path, tmp_path: Path, run_stages: Callable[..., None]) -> None:
    run = tmp_path / "run"
    run_stages(faulty, run, "data.on_error=skip")
    for artifact in ("classifier", "pseudo_masks", "segmenter"):
        skipped = read_json(run / artifact / "manifest.json")["skipped"]
        assert list(skipped) == ["train_00001", "train_00004", "train_00007"]
        assert "cannot be read as an image" in skipped["train_00001"]
        assert skipped["train_00004"] == "SALImages/train_00004.png is missing"
        assert "unknown tag 'unicorn'" in skipped["train_00007"]
        assert str(faulty) not in str(skipped)
    assert len(list((run / "pseudo_masks" / "masks").iterdir())) == 9
    assert list(read_json(run / "evaluation" / "segmenter.json")["skipped"]["val"]) == ["val_00002"]
    assert len((Path(f"{faulty}.index") / "faults.txt").read_text().splitlines()) == 4


def test_raise_is_the_default(faulty: Path, tmp_path: Path, command: Callable[..., tuple[int, str]]) -> None:
    settings = ("experiment=tiny", "data=folder", f"data.root={faulty}", f"run_dir={tmp_path / 'run'}")
    code, text = command(prepare.main, *settings)
    assert (code, "4 faults" in text) == (2, True)
    code, text = command(train_cls.main, *settings)
    assert code == 2
    code, text = command(train_cls.main, *settings, "data.on_error=ignore")
    assert (code, text) == (2, "error: data.on_error=ignore: must be raise or skip\n")


def test_nothing_is_left(faulty: Path, tmp_path: Path, command: Callable[..., tuple[int, str]]) -> None:
    for path in (faulty / "JPEGImages").iterdir():
        Image.new("I;16", (4, 4)).save(path, format="PNG")
    settings = ("experiment=tiny", "data=folder", f"data.root={faulty}", f"run_dir={tmp_path / 'run'}")
    code, text = command(prepare.main, *settings, "data.on_error=skip")
    assert code == 2
    assert "split 'train': every photo of it has a fault: " in text.splitlines()[-1]
