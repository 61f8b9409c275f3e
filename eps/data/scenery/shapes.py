"""Coloured polygons, of which everything that stands in a scene is made; x to the right, y downwards, any unit."""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

Colour = tuple[int, int, int]
Number = int | float  # beartype takes no int for a float
Range = tuple[float, float]
DARK: Colour = (32, 32, 36)


class Part(NamedTuple):
    """One filled polygon."""

    points: Float[np.ndarray, "n 2"]
    colour: Colour


def paint(rng: Generator, *, saturation: Range = (0.3, 0.95), value: Range = (0.4, 0.97)) -> Colour:
    """A colour of any hue; one in five is white, grey or black."""
    grey = rng.random() < 0.2
    return hsv(rng.random(), 0.05 if grey else rng.uniform(*saturation), rng.uniform(*value))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """0..255 colour of a hue (any real, modulo 1), saturation and value in 0..1."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * r), round(255 * g), round(255 * b)


def tint(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor below 1) or lighter (above)."""
    r, g, b = (min(255, round(channel * factor)) for channel in colour)
    return r, g, b


def polygon(corners: Sequence[tuple[Number, Number]], colour: Colour) -> Part:
    """A polygon by its corners."""
    return Part(np.asarray(corners, dtype=np.float64), colour)


def rectangle(x0: Number, y0: Number, x1: Number, y1: Number, colour: Colour) -> Part:
    """An upright rectangle by two opposite corners."""
    return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)


def stroke(x0: Number, y0: Number, x1: Number, y1: Number, width: Number, colour: Colour) -> Part:
    """A straight line of some width."""
    along = np.array([x1 - x0, y1 - y0])
    across = width / 2 * np.array([-along[1], along[0]]) / np.hypot(*along)
    ends = np.array([[x0, y0], [x1, y1]])
    return Part(np.concatenate([ends + across, (ends - across)[::-1]]), colour)


def disc(x: Number, y: Number, rx: Number, ry: Number, colour: Colour) -> Part:
    """An ellipse by its centre and radii."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return Part(np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1), colour)


def blob(rng: Generator, x: Number, y: Number, rx: Number, ry: Number, colour: Colour, *, rough: float) -> Part:
    """An ellipse whose radius wavers by the share `rough`."""
    turn = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    radius = 1 + rough * rng.uniform(-1, 1, 22)
    return Part(np.stack([x + rx * radius * np.cos(turn), y + ry * radius * np.sin(turn)], axis=1), colour)
