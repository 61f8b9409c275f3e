"""Photos as cameras, scanners and the web have them: read as what a viewer shows, or refused in one line."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.artifacts import write_json
from eps.data.layout import DatasetFolder
from eps.errors import UserError

RED = (200, 30, 40)


def opened(root: Path, photo: Image.Image | bytes, suffix: str) -> DatasetFolder:
    (root / "JPEGImages").mkdir()
    write_json(root / "image_labels.json", {"classes": ["train"], "labels": {"a": []}})
    path = root / "JPEGImages" / f"a{suffix}"
    path.write_bytes(photo) if isinstance(photo, bytes) else photo.save(path)
    return DatasetFolder.open(root)


def transparent_palette() -> Image.Image:
    image = Image.new("RGB", (8, 6), RED).quantize(4)
    image.info["transparency"] = bytes([255, 0, 128, 255])
    return image


PHOTOS = {
    "cmyk.jpg": Image.new("RGB", (8, 6), RED).convert("CMYK"),
    "rgb.jpg": Image.new("RGB", (8, 6), RED),
    "rgba.png": Image.new("RGBA", (8, 6), (*RED, 128)),
    "palette.png": Image.new("RGB", (8, 6), RED).quantize(4),
    "transparent palette.png": transparent_palette(),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_colours_are_what_a_viewer_shows(tmp_path: Path, name: str) -> None:
    photo = opened(tmp_path, PHOTOS[name], Path(name).suffix).photo("a")
    assert (photo.mode, photo.size) == ("RGB", (8, 6))
    assert np.abs(np.asarray(photo, dtype=int) - RED).max() <= 6


@pytest.mark.parametrize(("mode", "value"), [("L", 90), ("LA", (90, 10)), ("1", 255)])
def test_grey_is_grey(tmp_path: Path, mode: str, value: int | tuple[int, int]) -> None:
    pixels = np.asarray(opened(tmp_path, Image.new(mode, (8, 6), value), ".png").photo("a"))
    expected = value if isinstance(value, int) else value[0]
    assert pixels.shape == (6, 8, 3)
    assert (pixels == expected).all()


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_more_than_8_bits_are_refused(tmp_path: Path, mode: str) -> None:
    folder = opened(tmp_path, Image.new(mode, (8, 6)), ".tiff")
    with pytest.raises(
        UserError, match=r"^[^\n]*a\.tiff is of Pillow's mode [^\n]*: write it again with 8 bits a channel$"
    ):
        folder.photo("a")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """70 bytes that say they are 30 GB."""
    size = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    with pytest.raises(UserError, match=r"^[^\n]*a\.png cannot be read as an image: [^\n]*decompression bomb[^\n]*$"):
        opened(tmp_path, bomb, ".png").photo("a")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0", b"<html>not found</html>"])
def test_what_is_no_photo(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"^[^\n]*a\.jpg cannot be read as an image: [^\n]*$"):
        opened(tmp_path, content, ".jpg").photo("a")


def test_a_truncated_photo(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    with pytest.raises(UserError, match=r"cannot be read as an image: .*truncated"):
        opened(tmp_path, whole[: len(whole) // 2], ".jpg").photo("a")
