"""Instances drawn on a photo: masks, outlines, boxes, and labels that can be read."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from PIL import Image, ImageDraw, ImageFont

from eps.data.palette import class_color
from eps.ops.extents import extent
from eps.ops.polygons import polygons

OPACITY = 0.45
"""Of a mask."""

Box = tuple[float, float, float, float]
Color = tuple[int, int, int]


class Style(NamedTuple):
    """Sizes in pixels that suit a photo."""

    line: int
    text: int

    @classmethod
    def of(cls, photo: Image.Image) -> "Style":
        """Lines are two pixels wide and text is 15 high where the photo's sides are about 700 pixels."""
        side = (photo.width * photo.height) ** 0.5
        return cls(line=max(1, round(side / 350)), text=max(9, round(side / 46)))


def draw_instances(
    photo: Image.Image,
    *,
    boxes: Float[np.ndarray, "n 4"],
    classes: Integer[np.ndarray, " n"],
    masks: Bool[np.ndarray, "n H W"],
    labels: Sequence[str],
    with_masks: bool = True,
    with_boxes: bool = True,
) -> Image.Image:
    """A copy of an RGB photo with instances (best first) in the colours of their classes; boxes are pixels, xyxy.

    Masks (with their outlines) and boxes may be left out, and so are empty labels. The best are drawn last, so that
    they lie on top; a label stands where none of a better instance does, if there is such a place. Raises `ValueError`
    where the masks have another size than the photo.
    """
    if masks.shape[1:] != (photo.height, photo.width):
        raise ValueError(f"masks of {masks.shape[1:]} do not fit a photo of {(photo.height, photo.width)}")
    drawn, style = photo.copy(), Style.of(photo)
    colors = [class_color(int(index)) for index in classes]
    for mask, color in reversed(list(zip(masks, colors, strict=True)) * with_masks):
        _fill(drawn, mask, color)
    pencil = ImageDraw.Draw(drawn)
    for box, mask, color in reversed(list(zip(boxes.tolist(), masks, colors, strict=True))):
        if with_masks:
            _outline(pencil, mask, color, style)
        if with_boxes:
            _rectangle(pencil, box, color, style)
    for place, label, color in reversed(_placed(photo, boxes, labels, colors, style) * any(labels)):
        pencil.rectangle(place, fill=color)
        ink = (0, 0, 0) if _luminance(color) > 140 else (255, 255, 255)
        pencil.text((place[0] + style.line, place[1]), label, fill=ink, font=_font(style))
    return drawn


def draw_rate(photo: Image.Image, per_second: float) -> Image.Image:
    """The photo with so many pictures a second written into its upper left corner, on black."""
    drawn = photo.copy()
    pencil, text, font = ImageDraw.Draw(drawn), f"{per_second:.1f} fps", _font(Style.of(photo))
    pencil.rectangle(pencil.textbbox((2, 2), text, font=font), fill=(0, 0, 0))
    pencil.text((2, 2), text, fill=(255, 255, 255), font=font)
    return drawn


def _fill(drawn: Image.Image, mask: Bool[np.ndarray, "H W"], color: Color) -> None:
    """Lay a mask over the photo, touching only the rows and columns that it has."""
    left, top, right, bottom = extent(mask)
    if not right:
        return
    veil = (mask[top:bottom, left:right] * round(255 * OPACITY)).astype(np.uint8)
    drawn.paste(color, (left, top, right, bottom), Image.fromarray(veil))


def _outline(pencil: ImageDraw.ImageDraw, mask: Bool[np.ndarray, "H W"], color: Color, style: Style) -> None:
    for outline in polygons(mask):
        corners = (outline - 0.5).ravel().tolist()  # Pillow's pixels have their centres at whole numbers
        pencil.line([*corners, *corners[:2]], fill=color, width=style.line, joint="curve")


def _rectangle(pencil: ImageDraw.ImageDraw, box: Sequence[float], color: Color, style: Style) -> None:
    x1, y1, x2, y2 = box
    pencil.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=color, width=style.line)


def _placed(
    photo: Image.Image,
    boxes: Float[np.ndarray, "n 4"],
    labels: Sequence[str],
    colors: Sequence[Color],
    style: Style,
) -> list[tuple[Box, str, Color]]:
    """Where each label stands: above its box, inside it at the top or the bottom, or below it."""
    taken: list[Box] = []
    for (x1, y1, _, y2), label in zip(boxes.tolist(), labels, strict=True):
        _, _, right, bottom = _font(style).getbbox(label)
        width, height = float(right + 2 * style.line), float(max(bottom, style.text) + style.line)
        x = min(max(0.0, x1), max(0.0, photo.width - width))
        tops = [y1 - height, y1, y2 - height, y2]
        lowest = max(0.0, photo.height - height)
        inside = [y for y in tops if 0 <= y <= lowest] or [min(max(0.0, y1), lowest)]
        places = [(x, y, x + width, y + height) for y in inside]
        taken.append(next((place for place in places if not _meets(place, taken)), places[0]))
    return list(zip(taken, labels, colors, strict=True))


def _meets(place: Box, taken: Iterable[Box]) -> bool:
    x1, y1, x2, y2 = place
    return any(x1 < right and left < x2 and y1 < bottom and top < y2 for left, top, right, bottom in taken)


def _font(style: Style) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=style.text)


def _luminance(color: Color) -> float:
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue
