import os
import random
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image, ImageFile

from eps.data.images import check_image, read_header, read_image, read_image_size
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


Image.init()
OTHERS = {"AVIF", "BLP", "DDS", "EPS", "GIF", "ICO", "JPEG2000", "PCX", "QOI", "TGA"} & Image.SAVE.keys()


@pytest.mark.parametrize("reader", [read_image, check_image, read_image_size])
@pytest.mark.parametrize("kind", sorted(OTHERS))
def test_formats_that_nobody_needs_are_not_opened(tmp_path: Path, kind: str, reader: Callable[[Path], object]) -> None:
    image = Image.effect_noise((16, 16), 80)
    image.convert("P" if kind == "BLP" else "RGB").save(path := tmp_path / "photo.jpg", format=kind)
    told = r"^[^\n]*photo\.jpg [^\n]*: it is none of JPEG, PNG, WEBP, BMP, TIFF: convert to JPEG [^\n]*HEIC[^\n]*$"
    with pytest.raises(UserError, match=told):
        reader(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF"])
def test_whatever_is_broken_is_found_by_the_check(tmp_path: Path, kind: str) -> None:
    held, chance, refused = BytesIO(), random.Random(0), 0
    Image.effect_noise((24, 16), 80).convert("RGB").save(held, format=kind)
    whole, path = held.getvalue(), tmp_path / "photo.jpg"
    for _ in range(60):
        content = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.3 else whole)
        for _ in range(chance.choice([1, 4, 16]) if content else 0):
            content[chance.randrange(min(len(content), 200))] = chance.randrange(256)
        path.write_bytes(content)
        told = fault(read_image, path)
        assert "\n" not in told
        assert bool(fault(check_image, path)) == bool(told)
        if not told:
            read_header(path, name="photo")
        refused += bool(told)
    assert refused > 10


def fault(reader: Callable[[Path], object], path: Path) -> str:
    try:
        reader(path)
    except UserError as error:
        return str(error)
    return ""


ERRORS = [
    SyntaxError("broken PNG file"),
    ValueError("Truncated IHDR chunk"),
    RuntimeError("decoder of no memory"),
    NotImplementedError("unknown pixel format"),
    IndexError("bytearray index out of range"),
    OverflowError("too large"),
    AssertionError("no fp"),
    zlib.error("Error -3"),
]


@pytest.mark.parametrize("reader", [read_image, check_image])
@pytest.mark.parametrize("error", [*ERRORS, MemoryError()])
def test_what_decoders_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reader: Callable[[Path], object]
) -> None:
    path = saved(tmp_path / "photo.bmp", np.zeros((2, 2), dtype=np.uint8))

    def broken(image: ImageFile.ImageFile) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", broken)
    with pytest.raises(UserError, match=f"cannot be read as an image: {str(error) or 'MemoryError'}$"):
        reader(path)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(packed: bytes, *more: bytes) -> bytes:
    """Of 40 x 30 grey pixels, whose checksums are good."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 30, 8, 0, 0, 0, 0))
    parts = (head, *more, chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


NOISE = zlib.compress(random.Random(0).randbytes(40).join([b"\0"] * 31)[:-1])
"""A row's filter, which is none, then its pixels."""


def test_png_with_too_few_pixels(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png(NOISE))
    check_image(path)
    path.write_bytes(png(NOISE[: len(NOISE) // 2]))
    for reader in (read_image, check_image):
        with pytest.raises(UserError, match=r"photo\.png cannot be read as an image: .*truncated"):
            reader(path)


@pytest.mark.filterwarnings("ignore:.*EXIF")
@pytest.mark.parametrize("exif", [b"", b"no exif", b"MM\0*\0\0\0\x08\0\x09", b"II*\0\xff\xff\xff\xff"])
def test_broken_exif_data_tell_nothing(tmp_path: Path, exif: bytes) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png(NOISE, chunk(b"eXIf", exif)))
    check_image(path)
    assert read_image(path).size == read_image_size(path) == (40, 30)


def test_a_mode_that_is_no_rgb(tmp_path: Path) -> None:
    Image.new("LAB", (4, 3)).save(path := tmp_path / "photo.jpg", format="TIFF")
    for reader in (read_image, check_image):
        with pytest.raises(UserError, match=r"photo\.jpg is of Pillow's mode 'LAB': write it again as RGB"):
            reader(path)


@pytest.mark.parametrize("reader", [read_image, check_image, read_image_size])
def test_pipe(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    """Which would be read until the end of days; here somebody writes nothing into it."""
    os.mkfifo(path := tmp_path / "photo.jpg")
    Thread(target=lambda: path.open("wb").close(), daemon=True).start()
    with pytest.raises(UserError, match=r"photo\.jpg is no file but a folder, pipe or device"):
        reader(path)


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
