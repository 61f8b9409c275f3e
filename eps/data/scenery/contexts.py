"""What railroad's scenes stand on: the five contexts and the neutral ground, each painted over a whole layer.

Layers are square, `side` pixels wide; a context is painted along its band and later cut out by the band's outline.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from eps.data.scenery.shapes import Colour, Number, hsv, tint

Layer = Image.Image
_SKIES = ((0.58, 0.55), (0.56, 0.25), (0.6, 0.08), (0.08, 0.35), (0.95, 0.2))  # hue and saturation
_WATERS = ((0.58, 0.6), (0.53, 0.5), (0.46, 0.4), (0.58, 0.15))


class Band(NamedTuple):
    """A strip across the photo, in units of its side: about y = middle + tilt * (x - 0.5) for x in left..right."""

    middle: float
    tilt: float
    thickness: float
    left: float
    right: float

    def at(self, x: float, offset: float = 0.0) -> float:
        """Height of the line that runs `offset` thicknesses below the middle."""
        return self.middle + self.tilt * (x - 0.5) + offset * self.thickness


def outline(rng: Generator, band: Band) -> Float[np.ndarray, "n 2"]:
    """The band's polygon with ragged edges and narrowed ends."""
    x = np.linspace(band.left, band.right, 12)
    half = np.full(12, 0.5 * band.thickness)
    half[[0, -1]] *= rng.uniform(0.45, 0.9, 2)
    middle = band.middle + band.tilt * (x - 0.5)
    ragged = 0.05 * band.thickness * rng.uniform(-1, 1, (4, 12))
    top = np.stack([x + ragged[0], middle - half + ragged[1]], axis=1)
    bottom = np.stack([x + ragged[2], middle + half + ragged[3]], axis=1)
    return np.concatenate([top, bottom[::-1]])


def rails(rng: Generator, side: int, band: Band) -> Layer:
    """One or two tracks on gravel."""
    gravel = hsv(rng.uniform(0.02, 0.14), rng.uniform(0.05, 0.35), rng.uniform(0.4, 0.65))
    layer = Image.new("RGB", (side, side), gravel)
    pen = ImageDraw.Draw(layer)
    centres = (-0.24, 0.26) if band.thickness > 0.3 and rng.random() < 0.5 else (0.02,)
    half = rng.uniform(0.15, 0.21) / len(centres)
    wood = hsv(0.07, rng.uniform(0.05, 0.5), rng.choice([0.25, 0.8]))
    steel = hsv(rng.choice([0.04, 0.6]), rng.uniform(0.05, 0.4), rng.uniform(0.45, 0.85))
    step, lean = rng.uniform(0.05, 0.075), rng.uniform(-0.03, 0.03)
    for centre in centres:
        for x in np.arange(-0.1, 1.1, step).tolist():
            ends = [(x - lean, band.at(x, centre - 1.5 * half)), (x + lean, band.at(x, centre + 1.6 * half))]
            _line(pen, side, ends, wood, 0.36 * step)
        for offset in (centre - half, centre + half):
            for drop, colour in ((0.006, tint(steel, 0.4)), (0.0, steel)):
                _line(pen, side, [(x, band.at(x, offset) + drop) for x in (-0.1, 1.1)], colour, 0.014)
    return layer


def water(rng: Generator, side: int, band: Band) -> Layer:
    """Waves on a blue, green or grey surface."""
    hue, saturation = _WATERS[int(rng.integers(len(_WATERS)))]
    base = hsv(hue, saturation * rng.uniform(0.6, 1.2), rng.uniform(0.4, 0.75))
    layer = Image.new("RGB", (side, side), base)
    pen = ImageDraw.Draw(layer)
    period, height, step = rng.uniform(0.06, 0.1), rng.uniform(0.008, 0.014), rng.uniform(0.035, 0.05)
    crest, trough = tint(base, 1.45), tint(base, 0.78)
    for y in np.arange(band.middle - 0.6 * band.thickness, band.middle + 0.7 * band.thickness, step):
        x = rng.uniform(-0.1, 0.05)
        while x < 1.0:
            length = rng.uniform(0.1, 0.3)
            t = np.linspace(x, x + length, 14)
            wave = y + band.tilt * (t - 0.5) - height * np.abs(np.sin(np.pi * t / period))
            _line(pen, side, np.stack([t, wave], axis=1).tolist(), crest if rng.random() < 0.6 else trough, 0.01)
            x += length + rng.uniform(0.02, 0.1)
    return layer


def road(rng: Generator, side: int, band: Band) -> Layer:
    """Asphalt with edge lines and dashes."""
    layer = Image.new("RGB", (side, side), hsv(rng.random(), rng.uniform(0, 0.12), rng.uniform(0.22, 0.55)))
    pen = ImageDraw.Draw(layer)
    for offset in (-0.4, 0.4):
        _line(pen, side, [(x, band.at(x, offset)) for x in (-0.1, 1.1)], (228, 228, 222), 0.018)
    mark = (235, 235, 228) if rng.random() < 0.6 else (235, 195, 60)
    dash = rng.uniform(0.07, 0.12)
    for x in np.arange(rng.uniform(-0.1, 0.0), 1.1, 1.8 * dash).tolist():
        _line(pen, side, [(t, band.at(t)) for t in (x, x + dash)], mark, 0.018)
    return layer


def sky(rng: Generator, side: int, band: Band) -> Layer:
    """A gradient with soft clouds: clear, grey or at dusk."""
    hue, saturation = _SKIES[int(rng.choice(len(_SKIES), p=[0.35, 0.25, 0.15, 0.15, 0.1]))]
    high = hsv(hue, saturation, rng.uniform(0.65, 0.95))
    low = hsv(hue + rng.uniform(-0.03, 0.03), 0.4 * saturation, rng.uniform(0.8, 1.0))
    small = side // 3  # soft anyway, and quicker to blur
    ramp = Image.fromarray(np.array([[high], [low]], dtype=np.uint8))
    layer = ramp.resize((small, small), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(layer)
    white = tint((255, 255, 255), rng.uniform(0.8, 1.0))
    for _ in range(rng.integers(3, 7)):
        x, y, wide = rng.random(), band.at(0.5, rng.uniform(-0.5, 0.5)), rng.uniform(0.05, 0.14)
        for dx, dy, r in wide * rng.uniform([-1, -0.15, 0.2], [1, 0.15, 0.45], (5, 3)):
            corners = (x + dx - 1.4 * r, y + dy - r, x + dx + 1.4 * r, y + dy + 0.8 * r)
            pen.ellipse([small * corner for corner in corners], fill=white)
    return layer.filter(ImageFilter.GaussianBlur(0.012 * small)).resize((side, side), Image.Resampling.BILINEAR)


def grass(rng: Generator, side: int, band: Band) -> Layer:
    """Blades, green or dry."""
    base = hsv(rng.uniform(0.15, 0.36), rng.uniform(0.35, 0.75), rng.uniform(0.35, 0.7))
    layer = Image.new("RGB", (side, side), base)
    pen = ImageDraw.Draw(layer)
    count = round(1500 * band.thickness)
    x = rng.uniform(0, 1, count)
    y = band.middle + band.tilt * (x - 0.5) + np.sort(rng.uniform(-0.55, 0.6, count)) * band.thickness
    lean, tall = rng.normal(0, 0.008, count), rng.uniform(0.015, 0.045, count)
    tones = [tint(base, tone) for tone in (0.6, 0.75, 1.15, 1.35)]
    tone = rng.integers(0, 4, count)
    for x0, y0, dx, dy, i in zip(*(values.tolist() for values in (x, y, lean, tall, tone)), strict=True):
        _line(pen, side, [(x0, y0), (x0 + dx, y0 - dy)], tones[i], 0.006)
    return layer


def ground(rng: Generator, side: int) -> Layer:
    """Concrete, sand or plaster, boards or bricks, in any pale or dull colour, half the time in two tones."""
    base = _dull(rng)
    layer = Image.new("RGB", (side, side), base)
    pen = ImageDraw.Draw(layer)
    kind, step, line = rng.integers(4), rng.uniform(0.06, 0.16), tint(base, rng.choice([0.85, 1.15]))
    if kind == 0:
        _bricks(pen, side, step, line)
    elif kind == 1:
        for x in np.arange(rng.uniform(0, step), 1, step).tolist():
            _line(pen, side, [(x, 0), (x, 1)], line, 0.008)
    if rng.random() < 0.5:
        horizon, above = rng.uniform(0.3, 0.7) * side, rng.random() < 0.5
        pen.rectangle([0, 0, side, horizon] if above else [0, horizon, side, side], fill=_dull(rng))
    return layer


def _dull(rng: Generator) -> Colour:
    return hsv(rng.random(), rng.uniform(0.03, 0.4), rng.uniform(0.35, 0.9))


def _bricks(pen: ImageDraw.ImageDraw, side: int, step: float, line: Colour) -> None:
    for row, y in enumerate(np.arange(0, 1, step).tolist()):
        _line(pen, side, [(0, y), (1, y)], line, 0.008)
        for x in np.arange(step * (row % 2), 1, 2 * step).tolist():
            _line(pen, side, [(x, y), (x, y + step)], line, 0.008)


def _line(
    pen: ImageDraw.ImageDraw, side: int, points: Sequence[Sequence[Number]], colour: Colour, width: float
) -> None:
    pen.line([(x * side, y * side) for x, y in points], fill=colour, width=max(1, round(width * side)))


PAINTERS: dict[str, Callable[[Generator, int, Band], Layer]] = {
    "rails": rails,
    "water": water,
    "road": road,
    "sky": sky,
    "grass": grass,
}
GRAIN = {"rails": 0.16, "water": 0.04, "road": 0.07, "sky": 0.01, "grass": 0.07}
"""Strength of each context's fine noise, as a share of its brightness."""
