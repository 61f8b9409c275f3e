"""Reading image files: one error for whatever is wrong with them."""

import struct
from pathlib import Path

from PIL import Image, ImageOps

from eps.errors import UserError

_FAULTS = (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for files that are no images."""


def read_image_size(path: Path) -> tuple[int, int]:
    """Width and height by the file's header. Raises `UserError` where it has none."""
    try:
        with Image.open(path) as image:
            return image.size
    except _FAULTS as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from error


def read_image(path: Path) -> Image.Image:
    """An image as the file has it, fully read, and upright where its EXIF data tell how it was held.

    Raises `UserError` where it cannot be read, or has more than 8 bits a channel.
    """
    try:
        with Image.open(path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except _FAULTS as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from error
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow would cut the values off at 255
        raise UserError(f"{path} is of Pillow's mode {image.mode!r}: write it again with 8 bits a channel")
    return image
