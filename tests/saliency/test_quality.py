"""What maps and tags say of each other."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.layout import DatasetFolder
from eps.saliency.maps import summarise
from eps.saliency.quality import map_quality

LEVELS = {"blank": 0, "faint": 2, "some": 40, "most": 250, "full": 255}
"""The grey that a map has everywhere."""


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    (tmp_path / "SALImages").mkdir()
    labels = {}
    for level, grey in LEVELS.items():
        for tags in ((), ("cat",)):
            photo = f"{level}{len(tags)}"
            labels[photo] = tags
            Image.fromarray(np.full((4, 6), grey, dtype=np.uint8)).save(tmp_path / "SALImages" / f"{photo}.png")
    return DatasetFolder(tmp_path, ("cat",), labels | {"none0": (), "none1": ("cat",)})


def test_each_photo_is_where_it_belongs(folder: DatasetFolder) -> None:
    ids = list(folder.labels)
    found = map_quality(folder, ids)
    assert found.missing == ["none0", "none1"]
    assert found.tagged_blank == ["blank1", "faint1"]
    assert found.untagged_salient == ["some0", "most0", "full0"]
    assert found.full == ["full0", "full1"]
    assert found.summary == summarise(folder, ids[:-2])


def test_without_any_map(folder: DatasetFolder) -> None:
    found = map_quality(folder, ["none1"])
    assert found == (None, ["none1"], [], [], [])
