"""Reading image files: one error for whatever is wrong with them."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from eps.data.files import CONVERT, demand_regular
from eps.errors import UserError, one_line

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Whose readers may see a file, whatever its name: others of Pillow's start programs (EPS: Ghostscript), or crash.

That of JPEG reads what phones write as MPO, too.
"""
MAX_PIXELS: Final = 2 * 89_478_485
"""Where Pillow takes an image for a decompression bomb: nothing that is said of a larger photo can be true."""
_MODES: Final = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
"""Pillow's modes that become RGB, or labels, without loss."""
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_FAULTS = (*_BROKEN, MemoryError, Image.DecompressionBombError)
"""What Pillow raises for files that are no images."""


class ImageHeader(NamedTuple):
    """What an image says of itself before its pixels: Pillow's name of its format, and height and width upright."""

    format: str
    size: tuple[int, int]


def is_turned(image: Path | bytes, *, name: str) -> bool:
    """Whether an image is stored otherwise than upright. Raises `UserError` as `read_header` does."""
    with _opened(image, name=name) as opened:
        return _orientation(opened) != 1


def _orientation(opened: Image.Image) -> int:
    """By its EXIF data; 1, upright, where they are missing or broken."""
    with suppress(*_BROKEN):
        return int(opened.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def read_header(image: Path | bytes, *, name: str) -> ImageHeader:
    """The header of an image's file, or of what one would hold. Raises `UserError`, which calls it `name`."""
    with _opened(image, name=name) as opened:
        on_its_side = _orientation(opened) in (5, 6, 7, 8)
        width, height = opened.size
        return ImageHeader(opened.format or "", (width, height) if on_its_side else (height, width))


def read_image_size(path: Path) -> tuple[int, int]:
    """Width and height of what `read_image` gives, by the file's header. Raises `UserError` where it has none."""
    height, width = read_header(path, name=str(path)).size
    return width, height


def check_image(path: Path) -> None:
    """Raises `UserError` where `read_image` would, for JPEGs in less time: they are decoded small."""
    with _opened(path, name=str(path)) as image:
        image.draft(None, (1, 1))
        image.load()
    _demand_8_bits(image.mode, name=str(path))


def read_image(path: Path) -> Image.Image:
    """An image as the file has it, fully read, and upright where its EXIF data tell how it was held.

    Broken EXIF data tell nothing. Raises `UserError` where it cannot be read, or has more than 8 bits a channel.
    """
    return decode_image(path, name=str(path))


def decode_image(held: Path | bytes, *, name: str) -> Image.Image:
    """As `read_image`, of a file or of what one would hold; `UserError` calls it `name`."""
    with _opened(held, name=name) as image:
        image.load()
        with suppress(*_BROKEN):  # in its EXIF data, that is
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "P":  # colours are wanted, or the indices; Pillow would warn of the rest
            image.info.pop("transparency", None)
    _demand_8_bits(image.mode, name=name)
    return image


def _demand_8_bits(mode: str, *, name: str) -> None:
    if mode == "F" or mode.startswith("I"):  # Pillow would cut the values off at 255
        raise UserError(f"{name} is of Pillow's mode {mode!r}: write it again with 8 bits a channel")
    if mode not in _MODES:
        raise UserError(f"{name} is of Pillow's mode {mode!r}: write it again as RGB")


@contextmanager
def _opened(held: Path | bytes, *, name: str) -> Iterator[Image.Image]:
    """The only place that opens images. What Pillow has against one, then and in the body, is a `UserError`."""
    try:
        if isinstance(held, Path):
            demand_regular(held)
        with Image.open(BytesIO(held) if isinstance(held, bytes) else held, formats=FORMATS) as image:
            yield image
    except UnidentifiedImageError as error:
        raise UserError(f"{name} cannot be read as an image: it is none of {', '.join(FORMATS)}: {CONVERT}") from error
    except _FAULTS as error:
        reason = one_line(error) or type(error).__name__
        raise UserError(f"{name} cannot be read as an image: {reason}") from error
