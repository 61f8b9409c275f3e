from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from eps.data.annotations.masks import object_of
from eps.data.annotations.records import AnnotatedObject, AnnotatedPhoto
from eps.data.annotations.yolo import write_yolo

SIZE = (10, 20)


def photo(folder: Path, name: str, *objects: AnnotatedObject, suffix: str = "png") -> AnnotatedPhoto:
    file = folder / f"{name.replace('/', '_')}.{suffix}"
    Image.new("RGB", SIZE[::-1]).save(file)
    form = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP"}[suffix]
    return AnnotatedPhoto(id=name, size=SIZE, image=file, format=form, file=file, objects=objects)


def square(label: str, *corners: tuple[int, int]) -> AnnotatedObject:
    mask = np.zeros(SIZE, dtype=bool)
    for x, y in corners:
        mask[y : y + 4, x : x + 4] = True
    return object_of(mask, label)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    photos = [
        photo(tmp_path, "one", square("boat", (2, 4)), square("train", (0, 0), (12, 6))),
        photo(tmp_path, "more/two", suffix="jpg"),
        photo(tmp_path, "three", suffix="bmp"),
    ]
    write_yolo(tmp_path / "out", photos, classes=["train", "boat", "Straße: 1"], val_share=0.0, tolerance=0.5)
    return tmp_path / "out"


def test_files(written: Path) -> None:
    found = sorted(path.relative_to(written).as_posix() for path in written.rglob("*.*"))
    images = ["images/train/more/two.jpg", "images/train/one.png", "images/train/three.png"]
    assert found == ["data.yaml", *images, *(f"labels/train/{name}.txt" for name in ("more/two", "one", "three"))]
    told = yaml.safe_load((written / "data.yaml").read_text(encoding="utf-8"))
    assert told == {
        "train": "images/train",
        "val": "images/train",
        "names": {0: "train", 1: "boat", 2: "Straße: 1"},
    }


def test_lines(written: Path) -> None:
    assert (written / "labels/train/three.txt").read_text() == ""
    boat, train = (line.split() for line in (written / "labels/train/one.txt").read_text().splitlines())
    assert (boat[0], train[0]) == ("1", "0")
    corners = np.array(boat[1:], dtype=float).reshape(-1, 2) * SIZE[::-1]
    assert corners.min(axis=0).tolist() == [2, 4]
    assert corners.max(axis=0).tolist() == [6, 8]
    corners = np.array(train[1:], dtype=float).reshape(-1, 2) * SIZE[::-1]  # of both parts
    assert corners.min(axis=0).tolist() == [0, 0]
    assert corners.max(axis=0).tolist() == [16, 10]


def test_splits(tmp_path: Path) -> None:
    photos = [photo(tmp_path, f"photo{i}") for i in range(30)]
    write_yolo(tmp_path / "out", photos, classes=["train"], val_share=0.4, tolerance=0.0)
    found = {split: {path.stem for path in (tmp_path / "out/images" / split).iterdir()} for split in ("train", "val")}
    assert min(map(len, found.values())) > 3
    assert found["train"] | found["val"] == {one.id for one in photos}
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["val"] == "images/val"
