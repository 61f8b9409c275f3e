import os
from pathlib import Path

import pytest

from eps.data.photo_list import photos_at
from eps.errors import UserError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "below/c.jpeg", "d.webp", "notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "photos"


def test_folder(photos: Path) -> None:
    assert list(photos_at(photos).items()) == [
        ("a", photos / "a.PNG"),
        ("b", photos / "b.jpg"),
        ("below/c", photos / "below" / "c.jpeg"),
        ("d", photos / "d.webp"),
    ]


def test_list(photos: Path) -> None:
    path = photos / "list.txt"
    path.write_text(f"below/c.jpeg\n\n{photos / 'a.PNG'}\n")
    assert photos_at(path) == {"c": photos / "below" / "c.jpeg", "a": photos / "a.PNG"}


def test_one_photo(photos: Path) -> None:
    assert photos_at(photos / "a.PNG") == {"a": photos / "a.PNG"}


def test_list_with_faults(photos: Path) -> None:
    path = photos / "list.txt"
    for content, message in (
        ("b.jpg\nno.jpg", r"no\.jpg is missing"),
        ("b.jpg\n./b.jpg", "have the same name"),
        ("\n", "is empty: write one path a line"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            photos_at(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no list in UTF-8"):
        photos_at(path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder; give a photo, folder, list, video, or split:NAME"):
        photos_at(tmp_path / "nowhere")
    (tmp_path / "IMG_1.HEIC").touch()
    with pytest.raises(UserError, match=r"no photo in there .*; pictures of kinds that are not read: IMG_1.HEIC; conv"):
        photos_at(tmp_path)


def test_name_that_is_no_text(photos: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.jpg")
    (photos / name).touch()
    for place in (photos, photos / name):
        with pytest.raises(UserError, match="is no name in UTF-8 that can be shown: rename it") as refusal:
            photos_at(place)
        str(refusal.value).encode()


def test_name_that_is_too_long(photos: Path) -> None:
    (photos / f"{'a' * 238}.jpg").touch()
    with pytest.raises(UserError, match=r"aaa\.jpg: its name is too long, .* 215 bytes at most"):
        photos_at(photos)


def test_pipe(photos: Path) -> None:
    os.mkfifo(photos / "pipe.txt")
    with pytest.raises(UserError, match=r"pipe\.txt is no file but a folder, pipe or device"):
        photos_at(photos / "pipe.txt")
