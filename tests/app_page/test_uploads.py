from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.app_page.uploads import Bounds, described, read_upload
from eps.errors import UserError

BOUNDS = Bounds(mb=1, megapixels=1, side=100)


def written(path: Path, size: tuple[int, int], **how: object) -> Path:
    Image.new("RGB", size, (200, 30, 30)).save(path, **how)
    return path


def test_a_small_photo_is_taken_as_it_is(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    noise.save(tmp_path / "a.png")
    upload = read_upload(tmp_path / "a.png", BOUNDS)
    assert (np.asarray(upload.photo) == np.asarray(noise)).all()
    assert described(upload) == "a.png, 90 x 60 pixels"


def test_a_large_photo_is_made_smaller_and_that_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jpg", (400, 250))
    upload = read_upload(path, BOUNDS)
    assert (upload.photo.size, upload.original) == ((100, 62), (400, 250))
    assert "400 x 250" in described(upload)
    assert "100 x 62 (app.max_side)" in described(upload)
    assert read_upload(path, BOUNDS._replace(side=0)).photo.size == (400, 250)


def test_a_photo_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upload = read_upload(written(tmp_path / "a.jpg", (90, 60), exif=exif), BOUNDS)
    assert (upload.photo.size, upload.original) == ((60, 90), (60, 90))


def test_a_huge_picture_is_refused_before_its_pixels_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.png", (2000, 1000))
    monkeypatch.setattr("eps.app_page.uploads.decode_image", None)
    with pytest.raises(UserError, match=r"a\.png has 2000 x 1000 pixels, more than the 1 million of app\.max_megapixe"):
        read_upload(path, BOUNDS)


def test_what_pillow_takes_for_a_bomb_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.png", (300, 200))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40_000)  # it warns of more, and raises from twice as many on
    assert read_upload(path, BOUNDS).original == (300, 200)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    with pytest.raises(UserError, match=r"a\.png cannot be read as an image: .*exceeds limit"):
        read_upload(path, BOUNDS)


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jpg", (8, 8))
    path.write_bytes(path.read_bytes() + bytes(2 * 2**20))
    with pytest.raises(UserError, match=r"a\.jpg has 2\.0 MiB, more than the 1 of app\.max_upload_mb"):
        read_upload(path, BOUNDS)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^a\.png cannot be read as an image"):
        read_upload(path, BOUNDS)
