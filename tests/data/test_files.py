import errno
import os
from pathlib import Path

import pytest

from eps.data.atomic import replaced
from eps.data.files import LONGEST, PHOTO_SUFFIXES, demand_regular, files_by_id, id_of, is_safe, is_short
from eps.data.unfinished import Unfinished
from eps.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "a.jPg",
        "b.png",
        "b.JPEG",
        "c.txt",
        ".d.jpg",
        "cats/a.jpg",
        "masks/a.png",
        ".hidden/e.jpg",
        "f.x.jpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_suffixes_of_any_case_below_a_folder(folder: Path) -> None:
    found = files_by_id(folder, PHOTO_SUFFIXES, without=[folder / "masks"])
    assert {photo: path.relative_to(folder).as_posix() for photo, path in found.items()} == {
        "a": "a.jPg",
        "b": "b.JPEG",  # .jpeg comes before .png
        "cats/a": "cats/a.jpg",
        "f.x": "f.x.jpg",
    }
    assert "masks/a" in files_by_id(folder, PHOTO_SUFFIXES)


def test_no_folder_no_files(tmp_path: Path) -> None:
    assert files_by_id(tmp_path / "nowhere", PHOTO_SUFFIXES) == {}


@pytest.mark.parametrize(
    ("file", "photo"), [("a.jpg", "a"), ("./cats/a.b.PNG", "cats/a.b"), ("a", "a"), ("", ""), ("/a.jpg", "/a")]
)
def test_id_of(file: str, photo: str) -> None:
    assert id_of(file) == photo


@pytest.mark.parametrize("photo", ["a", "photo 2", "cats/1", "été", "a..b", "2007_000032", "shot 1.23\u202fPM"])
def test_safe_ids(photo: str) -> None:
    assert is_safe(photo)


@pytest.mark.parametrize(
    "photo", ["", "/etc/a", "..", "../a", "a/../b", "a//b", "a/", "./a", "C:/a", "a\\b", "a\0b", "a\nb", "\udcff"]
)
def test_ids_that_lead_elsewhere(photo: str) -> None:
    assert not is_safe(photo)


def test_folders_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no empty folders."""
    scan = os.scandir

    def refuse(place: str) -> object:
        if str(place).endswith("cats"):
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"/cats cannot be read: Permission denied$"):
        files_by_id(folder, PHOTO_SUFFIXES)


def test_files_can_be_written_under_the_longest_id(tmp_path: Path) -> None:
    """What stage 2 keeps while it is unfinished has the longest names; a temporary one comes on top."""
    for photo in ("a" * LONGEST, "folder" * 40 + "/" + "é" * (LONGEST // 2)):
        assert is_short(photo)
        assert not is_short(photo + "é")
        with replaced(Unfinished(tmp_path / "run").file("scores", photo, key="k" * 64, suffix=".npz")) as temporary:
            temporary.touch()
    assert not is_short("\udcff" * LONGEST)


def test_what_is_no_file(tmp_path: Path) -> None:
    demand_regular(tmp_path / "nothing")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    demand_regular(tmp_path / "link")
    for place in (tmp_path, Path(os.devnull)):
        with pytest.raises(UserError, match=f"^{place} is no file but a folder, pipe or device"):
            demand_regular(place)
