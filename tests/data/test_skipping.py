"""Which photos `data.on_error=skip` leaves out, and that they are looked at once."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from eps.data import skipping
from eps.data.artifacts import write_json
from eps.data.folder import folder_form
from eps.data.index import Index
from eps.data.layout import DatasetFolder
from eps.data.listing import Places
from eps.data.skipping import Skipping
from eps.errors import UserError

IDS = ["good", "half", "gone", "small", "bare", "odd", "also"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in ("JPEGImages", "SALImages"):
        (root / name).mkdir(parents=True)
        for photo in IDS:
            Image.fromarray(np.zeros((5, 7), dtype=np.uint8)).save(root / name / f"{photo}.png")
    labels = {photo: ["train"] for photo in IDS} | {"odd": ["unicorn"]}
    write_json(root / "image_labels.json", {"classes": ["train"], "labels": labels})
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    listed = [*IDS, "good", "../out", "unlisted"]
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(listed))
    (root / "JPEGImages" / "half.png").write_bytes(b"half")
    (root / "JPEGImages" / "gone.png").unlink()
    Image.new("L", (3, 3)).save(root / "SALImages" / "small.png")
    (root / "SALImages" / "bare.png").unlink()
    return root


def opened(root: Path, **settings: bool) -> DatasetFolder:
    form = folder_form(root, Places())
    return DatasetFolder.of(form, form.read(), Skipping(Index(root.parent / "index"), tell=Mock(), **settings))


def test_usable_photos_in_order_each_once(root: Path) -> None:
    folder = opened(root)
    assert folder.ids("train") == ["good", "also"]
    reasons = folder.skipped("train")
    assert list(reasons) == ["half", "gone", "small", "bare", "odd", "../out", "unlisted"]
    told = (
        "cannot be read",
        "no photo of that id",
        "is 3x3, its photo 7x5",
        "is missing",
        "unknown tag",
        "is no id",
        "no",
    )
    for reason, expected in zip(reasons.values(), told, strict=True):
        assert expected in reason
        assert str(root) not in reason


def test_it_is_said(root: Path) -> None:
    folder = opened(root)
    folder.ids("train")
    folder.ids("train")
    assert folder.find_unusable is not None
    tell: Mock = folder.find_unusable.tell  # type: ignore[attr-defined]
    tell.assert_called_once()
    assert tell.call_args.args[0].startswith("train: 7 of 9 photos skipped: ")


def test_without_maps(root: Path) -> None:
    """Maps that are about to be made are no fault."""
    assert opened(root, maps=False).ids("train") == ["good", "small", "bare", "also"]


def test_maps_that_are_all_missing_are_none_of_its_business(root: Path) -> None:
    for path in (root / "SALImages").iterdir():
        path.unlink()
    assert opened(root).ids("train") == ["good", "small", "bare", "also"]


def test_the_same_files_are_opened_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(root).ids("train")
    with monkeypatch.context() as patch:
        patch.setattr(skipping, "faults", None)
        assert opened(root).ids("train") == ["good", "also"]
    Image.new("L", (7, 5)).save(root / "JPEGImages" / "half.png")
    assert opened(root).ids("train") == ["good", "half", "also"]


@pytest.mark.parametrize("content", ["", "[]", '{"train, to skip, saliency maps: True": {"faults": 3}}'])
def test_a_broken_record_is_made_anew(root: Path, content: str) -> None:
    opened(root).ids("train")
    (root.parent / "index" / "skipped.json").write_text(content)
    assert opened(root).ids("train") == ["good", "also"]


def test_nothing_left(root: Path) -> None:
    for path in (root / "JPEGImages").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="split 'train': every photo of it has a fault: JPEGImages/good: no photo"):
        opened(root).ids("train")


def test_without_it_the_first_fault_is_an_error(root: Path) -> None:
    folder = DatasetFolder.open(root)
    assert folder.skipped("train") == {}
    with pytest.raises(UserError, match=r"(stands there more than once|unknown tag)"):
        folder.ids("train")
