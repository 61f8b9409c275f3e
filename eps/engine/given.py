"""Photos as people hand them to a segmenter: opened, refused where they are none, gathered into batches."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from eps.data.images import read_image
from eps.errors import UserError

Photo = Image.Image | np.ndarray | str | Path
"""A picture, a path to one, or an array (H, W, 3) of uint8, RGB."""

MOST_PIXELS = 2**25
"""Photos of one batch have no more pixels together, unless it is one photo."""


def opened(image: object) -> Image.Image:
    """A `Photo` in RGB. Raises `UserError` for anything else, for one without pixels, and for an unreadable file."""
    if isinstance(image, str | Path):
        return read_image(Path(image)).convert("RGB")
    photo = _from_array(image) if isinstance(image, np.ndarray) else image
    if not isinstance(photo, Image.Image):
        name = f"{type(image).__module__}.{type(image).__qualname__}"
        raise UserError(f"a {name} is no photo: give a path, a PIL image or an array (H, W, 3) of uint8, RGB")
    if not photo.width or not photo.height:
        raise UserError(f"a photo of {photo.width} x {photo.height} pixels (width x height) has nothing in it")
    return photo.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    shape = " x ".join(map(str, array.shape)) or "a single number"
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,), (4,)):
        raise UserError(f"an array of {array.dtype}, {shape}, is no photo: give uint8, (H, W, 3), RGB in 0..255")
    if 0 in array.shape:
        raise UserError(f"an array of {shape} is a photo without pixels")
    return Image.fromarray(array)


def batches(photos: Iterable[Image.Image], *, most: int) -> Iterator[list[Image.Image]]:
    """The photos in their order, `most` at a time, or fewer where they would have too many pixels together."""
    gathered: list[Image.Image] = []
    for photo in photos:
        if gathered and sum(one.width * one.height for one in [*gathered, photo]) > MOST_PIXELS:
            yield gathered
            gathered = []
        gathered.append(photo)
        if len(gathered) == most:
            yield gathered
            gathered = []
    if gathered:
        yield gathered
