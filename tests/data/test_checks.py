import json
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
    assert faults(folder, IDS, with_saliency=True) == []


def test_all_faults_at_once_in_order(folder: DatasetFolder) -> None:
    (folder.root / "JPEGImages/a.png").unlink()
    (folder.root / "JPEGImages/b.png").write_bytes(b"")
    (folder.root / "SALImages/c.png").unlink()
    Image.fromarray(np.zeros((7, 5), dtype=np.uint8)).save(folder.root / "SALImages/d.png")
    found = faults(folder, IDS, with_saliency=True)
    assert len(found) == 4
    reasons = ("no photo of that id", "cannot be read", "is missing", "is 5x7, its photo 7x5")
    for photo, reason, fault in zip(IDS, reasons, found, strict=True):
        assert reason in fault
        assert f"/{photo}" in fault
        assert "\n" not in fault
    assert len(faults(folder, IDS, with_saliency=False)) == 2
    assert faults(folder, IDS[2:], with_saliency=False) == []
