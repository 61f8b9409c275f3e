"""The colours of label images and of classes."""

from functools import cache

import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image


def label_image(labels: UInt8[np.ndarray, "H W"]) -> Image.Image:
    """A label map as a palette image in PASCAL VOC's colours."""
    image = Image.fromarray(labels)
    image.putpalette(_palette_bytes())
    return image


@cache
def _palette_bytes() -> bytes:
    return bytes(voc_palette())


def voc_palette() -> list[int]:
    """PASCAL VOC's colour map as Pillow's `putpalette` wants it: 256 colours, 768 integers in 0..255.

    The bits of an index are dealt out to red, green and blue in turn, from the highest bit of each down
    (PASCAL VOC development kit, `VOCcolormap`); index 0 is black, 255 (ignore) is cream.
    """
    return [_channel(index, channel) for index in range(256) for channel in range(3)]


def _channel(index: int, channel: int) -> int:
    return sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8))


def class_color(index: int) -> tuple[int, int, int]:
    """The colour of class `index` (from 0); twenty that can be told apart, then again from the first."""
    shades = matplotlib.colormaps["tab20"]
    position = index % 20
    red, green, blue, _ = shades((2 * position) % 20 + position // 10)  # the ten full colours first
    return round(255 * red), round(255 * green), round(255 * blue)
