"""Photos of one's own become a dataset: odd files and sizes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.layout import DatasetFolder
from eps.data.project import OwnPhotos


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A photo that was held upright, of 40 x 80 as it is seen, and a link to a PNG elsewhere."""
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.arange(80 * 40 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 80, 3)).save(
        photos / "phone.JPG", exif=exif
    )
    Image.new("RGB", (7, 3), (9, 8, 7)).save(tmp_path / "elsewhere.png")
    (photos / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "tags.csv").write_text("phone.jpg,cat\nlink.png,dog\n", encoding="utf-8")
    return tmp_path


def written(own: Path, max_side: int) -> DatasetFolder:
    made = OwnPhotos.open(own / "photos", own / "tags.csv", maps=None, val_share=0.0, max_side=max_side)
    assert [fault for told in made.faults() for fault in told] == []
    count: list[None] = []
    target = own / f"data{max_side}"
    target.mkdir()
    made.write(target, done=lambda: count.append(None))
    assert len(count) == 2
    assert made.without_map() == ["phone", "link"]
    return DatasetFolder.open(target)


def test_as_they_are(own: Path) -> None:
    folder = written(own, 0)
    assert folder.ids("train") == ["phone", "link"]
    assert folder.photo("phone").size == (40, 80)
    assert folder.photo_path("phone").read_bytes() == (own / "photos/phone.JPG").read_bytes()
    assert not folder.photo_path("link").is_symlink()  # the project can be moved
    assert folder.photo("link").getpixel((0, 0)) == (9, 8, 7)


def test_smaller_ones_are_upright(own: Path) -> None:
    folder = written(own, 20)
    assert folder.photo("phone").size == (10, 20)
    with Image.open(folder.photo_path("phone")) as stored:
        assert stored.size == (10, 20)
    assert folder.photo("link").size == (7, 3)


def test_sizes_are_those_of_what_is_written(own: Path) -> None:
    made = OwnPhotos.open(own / "photos", own / "tags.csv", maps=None, val_share=0.0, max_side=20)
    assert made.sizes == {"phone": (10, 20), "link": (7, 3)}
    assert [made.is_too_large(photo) for photo in made.ids] == [True, False]


def test_without_a_photo(own: Path) -> None:
    (own / "photos/phone.JPG").unlink()
    made = OwnPhotos.open(own / "photos", own / "tags.csv", maps=None, val_share=0.0, max_side=20)
    [fault] = [fault for told in made.faults() for fault in told]
    assert "'phone.jpg' is not in the folder" in fault
