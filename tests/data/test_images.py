import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.images import read_image, read_image_size
from eps.errors import UserError


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_reads_what_pillow_reads(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(5, 7, 3), dtype=np.uint8)
    image = read_image(saved(tmp_path / f"photo{suffix}", pixels))
    assert (image.mode, image.size) == ("RGB", (7, 5))
    if suffix != ".jpg":
        np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("pixels", [np.array([[0, 300]], dtype=np.uint16), np.array([[0.0, 0.5]], dtype=np.float32)])
def test_more_than_8_bits_would_be_cut_off(tmp_path: Path, pixels: np.ndarray) -> None:
    path = saved(tmp_path / "photo.tiff", pixels)
    with pytest.raises(UserError, match=r"photo\.tiff is of Pillow's mode .*8 bits"):
        read_image(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"photo\.png cannot be read as an image"):
        read_image(tmp_path / "photo.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_whatever_is_broken_is_one_error(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"photo{suffix}", np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8))
    whole, chance, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        content = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.3 else whole)
        for _ in range(chance.choice([1, 2, 8]) if content else 0):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        try:
            read_image(path)
        except UserError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("error", [SyntaxError("broken PNG file"), ValueError("Truncated IHDR chunk")])
def test_pillows_rarer_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    path = saved(tmp_path / "photo.png", np.zeros((2, 2), dtype=np.uint8))

    def broken(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(UserError, match=f"cannot be read as an image: {error}"):
        read_image(path)


def test_gigantic_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "photo.png", np.zeros((20, 20), dtype=np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="decompression bomb"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_upright(tmp_path: Path, suffix: str) -> None:
    """Orientation 6: the camera was held so that the picture has to be turned clockwise."""
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    image = read_image(path)
    assert image.size == read_image_size(path) == (16, 32)
    upright = np.asarray(image)
    assert upright[:15].min() > 200
    assert upright[17:].max() < 50
