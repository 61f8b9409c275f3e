import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.checks import faults
from eps.data.layout import DatasetFolder

IDS = ["a", "b", "c", "d"]


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    for name in ("JPEGImages", "SALImages"):
        (tmp_path / name).mkdir()
        for photo in IDS:
            Image.fromarray(np.zeros((5, 7), dtype=np.uint8)).save(tmp_path / name / f"{photo}.png")
    content = {"classes": ["train"], "labels": {photo: [] for photo in IDS}}
    (tmp_path / "image_labels.json").write_text(json.dumps(content))
    return DatasetFolder.open(tmp_path)


def test_nothing_wrong(folder: DatasetFolder) -> None:
    assert list(faults(folder, IDS, with_saliency=True)) == [[]] * 4


def test_all_faults_at_once_in_order(folder: DatasetFolder) -> None:
    (folder.root / "JPEGImages/a.png").unlink()
    (folder.root / "JPEGImages/b.png").write_bytes(b"")
    (folder.root / "SALImages/c.png").write_bytes(b"")
    Image.fromarray(np.zeros((7, 5), dtype=np.uint8)).save(folder.root / "SALImages/d.png")
    per_photo = list(faults(folder, IDS, with_saliency=True))
    assert [len(of_one) for of_one in per_photo] == [1] * 4
    assert list(faults(folder, IDS, with_saliency=True, threads=3)) == per_photo
    found = [fault for of_one in per_photo for fault in of_one]
    reasons = ("no photo of that id", "cannot be read", "cannot be read", "is 5x7, its photo 7x5")
    for photo, reason, fault in zip(IDS, reasons, found, strict=True):
        assert reason in fault
        assert f"/{photo}" in fault
        assert "\n" not in fault
    assert [len(of_one) for of_one in faults(folder, IDS, with_saliency=False)] == [1, 1, 0, 0]


def test_missing_maps_are_not_told_one_by_one(folder: DatasetFolder) -> None:
    (folder.root / "SALImages/c.png").unlink()
    assert list(faults(folder, IDS, with_saliency=True)) == [[]] * 4


def test_sizes_that_annotations_state(folder: DatasetFolder) -> None:
    """(height, width); photos of which none is stated have none that is wrong."""
    stated = replace(folder, sizes={"a": (5, 7), "b": (7, 5), "c": (5, 8)})
    found = list(faults(stated, IDS, with_saliency=True))
    assert [len(of_one) for of_one in found] == [0, 1, 1, 0]
    assert found[1][0].endswith("b.png is 7x5, its annotation says 5x7; they are swapped, or its EXIF data turn it")
    assert found[2][0].endswith("c.png is 7x5, its annotation says 8x5; mend one")
