"""Reading image files: one error for whatever is wrong with them."""

import struct
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, ImageOps

from eps.errors import UserError

_FAULTS = (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for files that are no images."""


class ImageHeader(NamedTuple):
    """What an image says of itself before its pixels: Pillow's name of its format, and height and width upright."""

    format: str
    size: tuple[int, int]


def read_header(image: Path | bytes, *, name: str) -> ImageHeader:
    """The header of an image's file, or of what one would hold. Raises `UserError`, which calls it `name`."""
    try:
        with _open(image) as opened:
            turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            width, height = opened.size
            return ImageHeader(opened.format or "", (width, height) if turned else (height, width))
    except _FAULTS as error:
        raise UserError(f"{name} cannot be read as an image: {error}") from error


def read_image_size(path: Path) -> tuple[int, int]:
    """Width and height of what `read_image` gives, by the file's header. Raises `UserError` where it has none."""
    height, width = read_header(path, name=str(path)).size
    return width, height


def check_image(path: Path) -> None:
    """Raises `UserError` where `read_image` would, in less time: JPEGs are decoded small, PNGs by their checksums."""
    try:
        with Image.open(path) as image:
            mode = image.mode
            if image.format == "PNG":
                image.verify()
            else:
                image.draft(None, (1, 1))
                image.load()
    except _FAULTS as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from error
    _demand_8_bits(mode, name=str(path))


def read_image(path: Path) -> Image.Image:
    """An image as the file has it, fully read, and upright where its EXIF data tell how it was held.

    Raises `UserError` where it cannot be read, or has more than 8 bits a channel.
    """
    return decode_image(path, name=str(path))


def decode_image(held: Path | bytes, *, name: str) -> Image.Image:
    """As `read_image`, of a file or of what one would hold; `UserError` calls it `name`."""
    try:
        with _open(held) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode == "P":  # colours are wanted, or the indices; Pillow would warn of the rest
                image.info.pop("transparency", None)
    except _FAULTS as error:
        raise UserError(f"{name} cannot be read as an image: {error}") from error
    _demand_8_bits(image.mode, name=name)
    return image


def _demand_8_bits(mode: str, *, name: str) -> None:
    if mode == "F" or mode.startswith("I"):  # Pillow would cut the values off at 255
        raise UserError(f"{name} is of Pillow's mode {mode!r}: write it again with 8 bits a channel")


def _open(held: Path | bytes) -> Image.Image:
    return Image.open(BytesIO(held) if isinstance(held, bytes) else held)
