"""A project from photos and a csv: what is written, what is refused, and that its settings are settings."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from eps import init, prepare
from eps.cli import call, entrypoint
from eps.data.layout import DatasetFolder
from eps.schema import Config, Result

Command = Callable[..., tuple[int, str, str]]
SIZES = [(60, 40), (40, 60), (200, 100), (50, 50), (60, 60), (30, 20)]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six photos, one of them in a folder, of which one is larger than 100 px; maps; and the csv."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        name = f"far/{number}" if number == 3 else str(number)
        for folder, pixels in (("photos", (height, width, 3)), ("maps", (height, width))):
            path = tmp_path / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, pixels, dtype=np.uint8)).save(path)
    (tmp_path / "tags.csv").write_text(
        "file,labels\n0.png,cat\n1.png,cat;dog\n2.png,dog\nfar/3.png,\n4.png,dog\n5.png,dog\n", encoding="utf-8"
    )
    return tmp_path / "photos"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["eps init", *words])
        code = 0
        try:
            init.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run


FLAGS = ("--photos", "photos", "--tags", "tags.csv")


def test_dataset_as_the_pipeline_reads_it(photos: Path, command: Command) -> None:
    words = ("mine", *FLAGS, "--saliency", "maps", "--val-share", "0.4", "--max-side", "100")
    code, _, err = command(*words)
    assert code == 0
    data = Path("mine/data")
    listed = json.loads((data / "image_labels.json").read_text())
    assert listed["classes"] == ["cat", "dog"]
    assert listed["labels"]["1"] == ["cat", "dog"]
    assert listed["labels"]["far/3"] == []
    splits = [(data / f"ImageSets/Segmentation/{split}.txt").read_text().split() for split in ("train", "val")]
    assert sorted(splits[0] + splits[1]) == sorted(listed["labels"])
    for folder, mode in (("JPEGImages", "RGB"), ("SALImages", "L")):
        with Image.open(data / folder / "2.png") as larger, Image.open(data / folder / "far/3.png") as small:
            assert (larger.size, small.size) == ((100, 50), (50, 50))
            assert larger.mode == mode
    assert (data / "JPEGImages/0.png").read_bytes() == (photos / "0.png").read_bytes()
    assert "1 photos larger than 100 px" in err
    call(prepare.run, "data=folder", "data.root=mine/data", "data.index=index")  # no fault


def test_photos_of_other_kinds_and_columns_of_other_names(photos: Path, command: Command) -> None:
    """They stay what they are, or become smaller, upright, as the photos of a dataset."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (200, 100), "red").save(photos / "gro\u00df.webp", exif=exif)
    Image.new("RGB", (60, 40), "red").save(photos / "scan 1.TIF", exif=exif)
    Path("tags.csv").write_text(
        "Nr;Schlagw\u00f6rter;Bild\n1;cat;gro\u00df.webp\n2;dog;scan 1.TIF\n3;dog,cat;0.png\n", encoding="utf-8"
    )
    names = ("--photo-column", "Bild", "--tags-column", "schlagw\u00f6rter")
    code, _, err = command("mine", *FLAGS, *names, "--max-side", "100", "--val-share", "0", "--tags-only")
    assert (code, "cat: on 2 photos" in err) == (0, True), err
    folder = DatasetFolder.open(Path("mine/data"))
    assert {photo: folder.photo(photo).size for photo in folder.ids("train")} == {
        "gro\u00df": (50, 100),
        "scan 1": (40, 60),
        "0": (60, 40),
    }
    assert (folder.root / "JPEGImages/scan 1.tif").read_bytes() == (photos / "scan 1.TIF").read_bytes()
    code, _, err = command("other", *FLAGS, "--photo-column", "Image")
    assert (code, "tags.csv has no column 'Image': its first line is Nr, Schlagw\u00f6rter, Bild" in err) == (2, True)


def test_settings(photos: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("mine", *FLAGS, "--saliency", "maps")[0] == 0
    monkeypatch.chdir("mine")
    seen: list[Config] = []

    def look(cfg: Config) -> Result:
        seen.append(cfg)
        return prepare.run(cfg)

    monkeypatch.setattr(sys, "argv", ["verb", "--config-dir", ".", "experiment=project", "segmenter.steps=7"])
    entrypoint(look)()
    (cfg,) = seen
    assert (cfg.name, cfg.run_dir, cfg.data.kind, cfg.data.root) == ("mine", "runs/mine", "folder", "data")
    assert (cfg.classifier.augment.crop, cfg.segmenter.image_size, cfg.segmenter.steps) == (64, [64, 64], 7)
    assert cfg.classifier.augment.jitter == [0.3, 0.3, 0.3, 0.1]  # of experiment=photos


def test_a_project_without_saliency_maps(photos: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = command("mine", *FLAGS, "--tags-only")
    assert (code, "saliency" in out, "no saliency map" in err) == (0, False, False)
    monkeypatch.chdir("mine")
    seen: list[Config] = []

    def look(cfg: Config) -> Result:
        seen.append(cfg)
        return prepare.run(cfg)

    monkeypatch.setattr(sys, "argv", ["verb", "--config-dir", ".", "experiment=project"])
    entrypoint(look)()
    (cfg,) = seen
    assert (cfg.classifier.kind, cfg.pseudo_masks.saliency, cfg.pseudo_masks.logit_adjustment) == ("cam", "none", 0)
    assert cfg.segmenter.image_size == [64, 64]
    monkeypatch.chdir("..")
    code, _, err = command("other", *FLAGS, "--tags-only", "--saliency", "maps")
    assert (code, "leave out --saliency" in err) == (2, True)


@pytest.mark.parametrize(("longer", "side"), [(60, 64), (450, 320), (640, 448), (300, 224), (4000, 448)])
def test_sizes_follow_the_photos(longer: int, side: int) -> None:
    assert init.side_for([10, longer, 5000]) == side


def test_next_commands(photos: Path, command: Command) -> None:
    _, out, err = command("mine", *FLAGS)
    lines = [line.strip() for line in out.splitlines() if line.startswith("  ")]
    assert [line.split()[:4] for line in lines] == [["eps", f"stage{n}", "--config-dir", "."] for n in (1, 2, 3)]
    assert "saliency=rembg" in lines[0]
    assert "6 of 6 photos have no saliency map" in err
    _, out, err = command("other", *FLAGS, "--saliency", "maps")
    assert "saliency" not in out
    assert "no saliency map" not in err


def test_notes(photos: Path, command: Command) -> None:
    Path("tags.csv").write_text("0.png,cat;dog\n1.png,cat\n2.png,cat\n4.png,cat\n", encoding="utf-8")
    _, _, err = command("mine", *FLAGS, "--val-share", "0")
    assert "every training photo is tagged 'cat'" in err
    assert "expect little of them: cat (4), dog (1)" in err
    assert "2 photos of the folder are not in it and are left out" in err
    assert "no photo is put aside" in err


def test_all_faults_at_once(photos: Path, command: Command) -> None:
    (photos / "0.png").write_bytes(b"no picture")
    Image.new("L", (3, 3)).save("maps/1.png")
    with Path("tags.csv").open("a", encoding="utf-8") as file:
        file.write("missing.png,cat\n")
    code, out, err = command("mine", *FLAGS, "--saliency", "maps")
    assert (code, out) == (2, "")
    assert "error: 3 faults, no project is made; all are in mine/faults.txt" in err
    told = Path("mine/faults.txt").read_text()
    assert all(part in told for part in ("'missing.png' is not in the folder", "photos/0.png", "maps/1.png"))
    assert [path.name for path in Path("mine").iterdir()] == ["faults.txt"]
    Path("tags.csv").write_text("2.png,cat\n4.png,\n", encoding="utf-8")
    assert command("mine", *FLAGS)[0] == 0  # once they are mended
    assert not Path("mine/faults.txt").exists()


def test_classes_in_order_and_no_others(photos: Path, command: Command) -> None:
    assert command("mine", *FLAGS, "--classes", "dog, cat,cow")[0] == 0
    listed = json.loads(Path("mine/data/image_labels.json").read_text())
    assert listed["classes"] == ["dog", "cat", "cow"]
    code, _, err = command("other", *FLAGS, "--classes", "dog")
    assert code == 2
    assert "has the unknown tag 'cat'; known are dog" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("photos", *FLAGS), "photos: there is something else already; give a new folder"),
        (("mine", "--photos", "nowhere", "--tags", "tags.csv"), "--photos nowhere: no such folder"),
        (("mine", "--photos", "photos", "--tags", "nowhere.csv"), "--tags nowhere.csv: no such file"),
        (("mine", *FLAGS, "--saliency", "nowhere"), "--saliency nowhere: no such folder"),
        (("mine", *FLAGS, "--classes", "cat,cat"), "--classes cat,cat: must be names, each of them once"),
        (("mine", *FLAGS, "--val-share", "1"), "--val-share 1: must be 0 or more, and less than 1"),
        (("mine", *FLAGS, "--max-side", "-1"), "--max-side -1: must be a number of pixels"),
    ],
)
def test_refused(photos: Path, command: Command, words: tuple[str, ...], told: str) -> None:
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {told}")
    assert not Path("mine").exists()
