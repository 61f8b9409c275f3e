from pathlib import Path

import pytest

from eps.data.photo_list import photos_at
from eps.errors import UserError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "below/c.jpeg", "notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "photos"


def test_folder(photos: Path) -> None:
    assert list(photos_at(photos).items()) == [
        ("a", photos / "a.PNG"),
        ("b", photos / "b.jpg"),
        ("below/c", photos / "below" / "c.jpeg"),
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
    with pytest.raises(UserError, match="no photo in there"):
        photos_at(tmp_path)
