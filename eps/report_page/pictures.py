"""Photos, masks and planes as small pictures inside a page."""

import base64
import io
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image, ImageDraw
from scipy import ndimage

from eps.data.palette import class_color
from eps.ops.pseudo_labels import IGNORE

SIDE = 320
"""Longest side of a picture in pixels."""
_IGNORED = (236, 232, 210)


class Chip(NamedTuple):
    """A class name, or more about an instance, in the class's colour (CSS)."""

    text: str
    color: str


class Picture(NamedTuple):
    """One picture of the page, with what it shows for those who do not see it."""

    uri: str
    alt: str
    caption: str
    size: tuple[int, int]
    """Width and height in pixels, so that the page knows its layout before it has decoded them."""
    chips: tuple[Chip, ...] = ()


def class_chip(index: int, text: str) -> Chip:
    """`text` in the colour of class `index`."""
    return Chip(text, "#{:02x}{:02x}{:02x}".format(*class_color(index)))


def show(image: Image.Image, *, alt: str, caption: str, chips: tuple[Chip, ...] = ()) -> Picture:
    """A picture of the image at the page's size, as a data URI."""
    buffer, fitted = io.BytesIO(), fit(image, SIDE).convert("RGB")
    fitted.save(buffer, format="WEBP", quality=82)
    uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, alt, caption, fitted.size, chips)


def paint_labels(photo: Image.Image, labels: UInt8[np.ndarray, "H W"], *, side: int = SIDE) -> Image.Image:
    """The photo, greyed, under its label map (class + 1, 0 background, 255 ignore: hatched).

    The picture's longest side has `side` pixels.
    """
    canvas, at = _canvas(photo, side), _enlarged(labels, photo, side)
    for value in np.unique(at[(at != 0) & (at != IGNORE)]):
        _paint(canvas, at == value, class_color(int(value) - 1))
    rows, columns = np.indices(at.shape)
    canvas[(at == IGNORE) & ((rows + columns) % 8 < 4)] = _IGNORED
    return Image.fromarray(canvas.round().astype(np.uint8))


def paint_map(photo: Image.Image, values: Float[np.ndarray, "H W"], *, side: int = SIDE) -> Image.Image:
    """The photo under a map with values in 0..1: greyed where that is 0, from violet to yellow where it is not."""
    fitted = fit(photo, side)
    at = np.asarray(Image.fromarray(values.astype(np.float32)).resize(fitted.size, Image.Resampling.BILINEAR))
    colors = np.asarray(matplotlib.colormaps["plasma"](at.clip(0, 1))[..., :3]) * 255
    share = 0.75 * at.clip(0, 1)[..., None] ** 0.5
    return Image.fromarray(((1 - share) * _canvas(photo, side) + share * colors).round().astype(np.uint8))


def paint_instances(
    photo: Image.Image,
    masks: Bool[np.ndarray, "n H W"],
    classes: Integer[np.ndarray, " n"],
    boxes: Float[np.ndarray, "n 4"] | None = None,
) -> Image.Image:
    """The photo, greyed, under its instances, each with its outline and, if given, its box (pixels, xyxy)."""
    canvas = _canvas(photo, SIDE)
    for mask, index in zip(masks, classes, strict=True):
        _paint(canvas, _enlarged(mask, photo, SIDE), class_color(int(index)))
    image = Image.fromarray(canvas.round().astype(np.uint8))
    pencil = ImageDraw.Draw(image)
    scale = image.width / photo.width
    for box, index in zip([] if boxes is None else boxes, classes, strict=boxes is not None):
        x1, y1, x2, y2 = (float(edge) * scale for edge in box)
        pencil.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=class_color(int(index)), width=2)
    return image


def paint_plane(plane: Float[np.ndarray, "h w"]) -> Image.Image:
    """A plane without negative values, from dark (0) to light (its maximum)."""
    return _shaded(plane / max(float(plane.max()), 1e-9), "viridis")


def paint_logits(logits: Float[np.ndarray, "h w"]) -> Image.Image:
    """Red above 0, blue below; full from 4 on, where a sigmoid has nearly reached its end."""
    return _shaded((logits / 4 + 1) / 2, "RdBu_r")


def _shaded(values: Float[np.ndarray, "h w"], shades: str) -> Image.Image:
    colors = np.asarray(matplotlib.colormaps[shades](values.clip(0, 1), bytes=True), dtype=np.uint8)
    return fit(Image.fromarray(colors[..., :3]), SIDE, Image.Resampling.NEAREST)


def _canvas(photo: Image.Image, side: int) -> Float[np.ndarray, "H W 3"]:
    """The photo at the page's size with half of its colour taken out, so that masks stand out."""
    fitted = fit(photo, side)
    grey = np.asarray(fitted.convert("L").convert("RGB"), dtype=np.float64)
    return 0.3 * np.asarray(fitted, dtype=np.float64) + 0.6 * grey + 25


def _paint(canvas: Float[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], color: tuple[int, int, int]) -> None:
    """Colour a mask in place, its rim fully."""
    inside = ndimage.binary_erosion(mask, iterations=2, border_value=1)
    canvas[inside] = 0.45 * canvas[inside] + 0.55 * np.array(color)
    canvas[mask & ~inside] = color


def _enlarged(values: np.ndarray, photo: Image.Image, side: int) -> np.ndarray:
    """Labels or a mask of the photo, at the size of its canvas."""
    if values.shape != (photo.height, photo.width):
        raise ValueError(f"a mask of {values.shape} does not fit a photo of {(photo.height, photo.width)}")
    fitted = fit(Image.fromarray(values.astype(np.uint8)), side, Image.Resampling.NEAREST)
    return np.asarray(fitted).astype(values.dtype)


def fit(image: Image.Image, side: int, method: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """The image as large as it can be with no side of more than `side` pixels."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if image.size == size else image.resize(size, method)
