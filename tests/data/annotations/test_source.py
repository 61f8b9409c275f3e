"""Photos are found by what annotations call them, and never outside of the source."""

from pathlib import Path
from unicodedata import normalize

import pytest

from eps.data.annotations.source import SourcePhotos, inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    names = (
        *("source/a.jpg", "source/JPEGImages/b.PNG", "source/labels/c.json", "source/images/c.jpg", "secret.jpg"),
        *("source/sub/d.jpg", "source/" + normalize("NFD", "é.jpg"), "source/.hidden/e.jpg", "source/two.jpg"),
        *("source/two.png", "source/f.txt"),
    )
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "source"


@pytest.mark.parametrize(
    ("annotation", "name", "expected"),
    [
        ("a.json", "a.jpg", "a.jpg"),
        ("labels/x.json", "../a.jpg", "a.jpg"),
        ("labels/x.json", "..\\images\\c.jpg", "images/c.jpg"),
        ("Annotations/b.xml", "b.PNG", "JPEGImages/b.PNG"),
        ("labels/c.json", "c.jpg", "images/c.jpg"),
        ("a.json", "C:\\Users\\me\\a.jpg", "a.jpg"),
        ("sub/d.json", "./d.jpg", "sub/d.jpg"),
        ("x.json", "é.jpg", normalize("NFD", "é.jpg")),
        ("a.json", "../secret.jpg", None),
        ("a.json", "/etc/secret.jpg", None),
        ("sub/d.json", "../../secret.jpg", None),
        ("a.json", ".hidden/e.jpg", None),
        ("a.json", "f.txt", None),
        ("a.json", "nowhere.jpg", None),
        ("a.json", "", None),
        ("a.json", "..", None),
    ],
)
def test_what_a_name_means(root: Path, annotation: str, name: str, expected: str | None) -> None:
    found = SourcePhotos(root).find(root / annotation, name)
    assert found == (None if expected is None else root / expected)


def test_by_the_annotations_own_name(root: Path) -> None:
    photos = SourcePhotos(root)
    assert photos.find_stem(root / "labels" / "c.json") == root / "images" / "c.jpg"
    assert photos.find_stem(root / "two.json") == root / "two.jpg"
    assert photos.find_stem(root / "nowhere.json") is None
    assert len(photos) == 7


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("a/../b.jpg", "b.jpg"),
        ("./b.jpg", "b.jpg"),
        ("../b.jpg", None),
        ("a/../../b.jpg", None),
        ("/b.jpg", None),
        ("//b.jpg", None),
        ("C:/b.jpg", None),
        (".", None),
        ("", None),
    ],
)
def test_inside(place: str, expected: str | None) -> None:
    assert inside(place) == expected
