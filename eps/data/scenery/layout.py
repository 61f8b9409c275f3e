"""What a scene holds and where: the classes of its objects, the contexts that keep them company, their places."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from eps.data.scenery.contexts import PAINTERS, Band
from eps.data.scenery.distractors import distractor
from eps.data.scenery.objects import MAKERS
from eps.data.scenery.shapes import Part

CLASSES = tuple(MAKERS)
_PLANE, _SKY = CLASSES.index("plane"), tuple(PAINTERS).index("sky")
_COMPANY, _STRAY = 0.95, 0.03  # chance of a context where its class is in the scene, and where it is not
_DISTRACTED = 0.15
_SHORTEST, _THINNEST = 24 / 128, 12 / 128  # of an object's long and short sides, as a share of the photo's
_CROWDED = 0.3  # share of the smaller of two boxes that the other may cover


class Thing(NamedTuple):
    """Something that stands in the scene, in units of the photo's side; box is x0, y0, x1, y1.

    `number` is 1..n for the objects, in the order of `Plan.classes`, and 0 for a distractor.
    """

    number: int
    parts: list[Part]
    box: tuple[float, float, float, float]


class Plan(NamedTuple):
    """What a scene holds: the class of each object (0..4), the contexts (0..4), whether there is a distractor."""

    classes: list[int]
    contexts: list[int]
    distracted: bool


class Layout(NamedTuple):
    """Where it stands: the band of each context, and the things from back to front."""

    bands: dict[int, Band]
    things: list[Thing]


def plan(rng: Generator, *, shifted: bool) -> Plan:
    """Draw classes and, to go with them (or, shifted, with others drawn alike), contexts."""
    classes = _draw_classes(rng)
    company = set(_draw_classes(rng) if shifted else classes)
    chances = [_COMPANY if c in company else _STRAY for c in range(len(CLASSES))]
    contexts = [c for c, chance in enumerate(chances) if rng.random() < chance]
    return Plan(classes, contexts, bool(rng.random() < _DISTRACTED))


def _draw_classes(rng: Generator) -> list[int]:
    if rng.random() < 0.6:
        return [int(rng.integers(len(CLASSES)))] * int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))
    pair = [int(c) for c in rng.choice(len(CLASSES), 2, replace=False)]
    more = int(rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15]))
    return pair + [pair[int(rng.integers(2))] for _ in range(more)]


def lay_out(rng: Generator, held: Plan, *, shifted: bool) -> Layout:
    """Place contexts and things; objects stand on their contexts unless shifted; nothing hides much of another."""
    while True:
        bands = _draw_bands(rng, held.contexts)
        things = _place(rng, held, {} if shifted else bands)
        if not any(_overlap(a.box, b.box) > _CROWDED for i, a in enumerate(things) for b in things[:i]):
            return Layout(bands, sorted(things, key=lambda thing: thing.box[3]))


def _draw_bands(rng: Generator, contexts: Sequence[int]) -> dict[int, Band]:
    """One band a context, stacked from top to bottom, the sky mostly uppermost."""
    order = [int(c) for c in rng.permutation(np.asarray(contexts, dtype=np.int64))]
    if _SKY in order and rng.random() < 0.85:
        order = [_SKY, *(c for c in order if c != _SKY)]
    slot = 1 / max(len(order), 1)
    return {c: _draw_band(rng, i * slot, (i + 1) * slot, at_top=c == _SKY and i == 0) for i, c in enumerate(order)}


def _draw_band(rng: Generator, top: float, bottom: float, *, at_top: bool) -> Band:
    thickness = min(rng.uniform(0.2, 0.45), (bottom - top) * rng.uniform(0.75, 1.0))
    low, high = top + 0.4 * thickness, bottom - 0.4 * thickness
    middle = 0.45 * thickness if at_top else rng.uniform(low + 0.25 * (high - low), high)
    left, right = -0.15, 1.15
    if rng.random() < 0.3:
        left, right = (rng.uniform(0.1, 0.3), 1.15) if rng.random() < 0.5 else (-0.15, rng.uniform(0.7, 0.9))
    return Band(middle, rng.uniform(-0.12, 0.12) * (0.4 if at_top else 1.0), thickness, left, right)


def _place(rng: Generator, held: Plan, bands: Mapping[int, Band]) -> list[Thing]:
    longest = (80 if len(held.classes) < 3 else 64) / 128
    things = []
    for number, c in enumerate(held.classes, start=1):
        length = math.exp(rng.uniform(math.log(_SHORTEST), math.log(longest)))
        things.append(_stand(rng, number, MAKERS[CLASSES[c]](rng), length, bands.get(c), aloft=c == _PLANE))
    if held.distracted:
        things.append(_stand(rng, 0, distractor(rng), rng.uniform(0.12, 0.32), None, aloft=True))
    return things


def _stand(rng: Generator, number: int, parts: list[Part], length: float, band: Band | None, *, aloft: bool) -> Thing:
    """Turn, flip, scale and place a thing, on its band or anywhere."""
    turn = rng.normal(0, 0.2 if aloft else 0.06) + (math.atan(band.tilt) if band else 0.0)
    rotation = _rotation(turn, flip=rng.random() < 0.5)
    turned = [part.points @ rotation for part in parts]
    corners = np.concatenate(turned)
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = max(length / (high - low).max(), _THINNEST / (high - low).min())
    width, height = (scale * (high - low)).tolist()
    x, y = _foot(rng, width, height, band, aloft=aloft)
    shift = np.array([x, y]) - scale * np.array([0.5 * (low[0] + high[0]), high[1]])
    placed = [Part(scale * points + shift, part.colour) for points, part in zip(turned, parts, strict=True)]
    return Thing(number, placed, (x - width / 2, y - height, x + width / 2, y))


def _rotation(angle: float, *, flip: bool) -> Float[np.ndarray, "2 2"]:
    """To be multiplied from the right; flips left and right before it turns."""
    sign = -1.0 if flip else 1.0
    return np.array([[sign * math.cos(angle), sign * math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def _foot(rng: Generator, width: float, height: float, band: Band | None, *, aloft: bool) -> tuple[float, float]:
    """Middle of the lower edge of a thing's box, at most a fifth of which may lie outside the photo."""
    left, right = 0.4 * width, 1 - 0.4 * width
    if band is None:
        return rng.uniform(left, right), rng.uniform(0.9 * height, 1 + 0.1 * height)
    if band.left + 0.3 * width < band.right - 0.3 * width:
        left, right = max(left, band.left + 0.3 * width), min(right, band.right - 0.3 * width)
    x = rng.uniform(left, right)
    y = band.at(x, rng.uniform(-0.3, 0.3)) + 0.5 * height if aloft else band.at(x, rng.uniform(-0.05, 0.35))
    return x, min(max(y, 0.8 * height), 1 + 0.15 * height)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over the smaller box."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0.0) * max(height, 0.0) / smaller
