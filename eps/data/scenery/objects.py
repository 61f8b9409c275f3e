"""The objects of railroad's five classes, in any colour, heading right, standing near y = 0."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from eps.data.scenery.shapes import DARK, Colour, Part, blob, disc, hsv, paint, polygon, rectangle, stroke, tint

_STEEL: Colour = (120, 120, 124)
_LAMP: Colour = (250, 241, 185)
_LEAVES = (  # hue and saturation: summer, autumn, blossom, spruce, jacaranda
    *((0.30, 0.60), (0.24, 0.70), (0.12, 0.85), (0.06, 0.85)),
    *((0.00, 0.75), (0.93, 0.40), (0.50, 0.35), (0.80, 0.35)),
)


def _glass(rng: Generator) -> Colour:
    return hsv(rng.choice([0.55, 0.58, 0.12]), rng.uniform(0.1, 0.4), rng.choice([0.25, 0.8, 0.95]))


def _wheel(x: float, radius: float, hub: Colour) -> list[Part]:
    return [disc(x, -radius, radius, radius, DARK), disc(x, -radius, 0.5 * radius, 0.5 * radius, hub)]


def _windows(x0: float, x1: float, y0: float, y1: float, count: int, glass: Colour) -> list[Part]:
    step = (x1 - x0) / count
    return [rectangle(x0 + step * (i + 0.15), y0, x0 + step * (i + 0.85), y1, glass) for i in range(count)]


def train(rng: Generator) -> list[Part]:
    """A steam engine or a railcar with up to two wagons."""
    height = rng.uniform(0.42, 0.55)
    parts = _steam_engine(rng, height) if rng.random() < 0.5 else _railcar(rng, height)
    body, trim, glass = paint(rng), paint(rng), _glass(rng)
    right = -0.03
    for _ in range(rng.choice([0, 1, 2], p=[0.3, 0.5, 0.2])):
        left = right - rng.uniform(0.7, 0.9)
        y0, y1 = -0.72 * height, -0.45 * height
        windows = _windows(left + 0.06, right - 0.06, y0, y1, int(rng.integers(3, 6)), glass)
        parts += _wagon(left, right, 0.9 * height, body, trim, windows)
        right = left - 0.05
    return parts


def _wagon(left: float, right: float, height: float, body: Colour, trim: Colour, windows: list[Part]) -> list[Part]:
    parts = [
        rectangle(right - 0.05, -0.15, right + 0.08, -0.1, DARK),
        rectangle(left, -height, right, -0.09, body),
        rectangle(left, -height - 0.03, right, -height + 0.03, tint(trim, 0.6)),
        rectangle(left, -0.19, right, -0.15, trim),
        *windows,
    ]
    for x in (left + 0.12, left + 0.26, right - 0.26, right - 0.12):
        parts += _wheel(x, 0.07, _STEEL)
    return parts


def _steam_engine(rng: Generator, height: float) -> list[Part]:
    body, trim, hub, glass = paint(rng), paint(rng), paint(rng), _glass(rng)
    boiler = -0.78 * height
    parts = [
        rectangle(0.02, -0.18, 0.98, -0.1, tint(trim, 0.7)),
        rectangle(0.3, boiler, 0.93, -0.15, body),
        rectangle(0.93, boiler + 0.02, 0.97, -0.17, tint(body, 0.6)),
        rectangle(0.78, boiler - 0.2, 0.87, boiler, tint(body, 0.7)),
        polygon([(0.75, boiler - 0.24), (0.9, boiler - 0.24), (0.87, boiler - 0.16), (0.78, boiler - 0.16)], trim),
        disc(0.58, boiler, 0.07, 0.07, trim),
        rectangle(0.0, -1.12 * height, 0.32, -0.12, tint(body, 0.88)),
        rectangle(-0.04, -1.22 * height, 0.36, -1.1 * height, trim),
        rectangle(0.06, -0.98 * height, 0.26, -0.65 * height, glass),
        polygon([(0.95, -0.16), (1.08, -0.02), (0.9, -0.02)], trim),
    ]
    parts += [rectangle(x, boiler, x + 0.03, -0.15, trim) for x in (0.45, 0.7)]
    for x in (0.14, 0.38, 0.6):
        parts += _wheel(x, 0.115, hub)
    return [*parts, *_wheel(0.82, 0.07, hub), stroke(0.14, -0.11, 0.62, -0.11, 0.03, tint(hub, 1.2))]


def _railcar(rng: Generator, height: float) -> list[Part]:
    body, trim, glass = paint(rng), paint(rng), _glass(rng)
    brow = 1.1 - rng.uniform(0.08, 0.3)  # where the roof ends and the nose begins
    sill, lintel = -0.5 * height, -0.85 * height
    screen = [(brow - 0.07, lintel), (0.9 * brow + 0.11, lintel), (0.2 * brow + 0.88, sill), (brow - 0.07, sill)]
    parts = [
        polygon([(0, -height), (brow, -height), (1.1, -0.4 * height), (1.1, -0.08), (0, -0.08)], body),
        rectangle(0, -0.22, 1.1, -0.16, trim),
        rectangle(0, -height - 0.03, brow, -height + 0.03, tint(trim, 0.6)),
        polygon(screen, glass),
        disc(1.06, -0.3 * height, 0.025, 0.025, _LAMP),
        rectangle(0.05, -0.8 * height, 0.15, -0.1, tint(body, 0.75)),
        *_windows(0.2, brow - 0.12, lintel, sill, int(rng.integers(4, 7)), glass),
    ]
    if rng.random() < 0.5:
        parts += _pantograph(-height)
    for x in (0.13, 0.28, 0.8, 0.95):
        parts += _wheel(x, 0.075, _STEEL)
    return parts


def _pantograph(roof: float) -> list[Part]:
    top = roof - 0.16
    arms = [stroke(x, roof, 0.5, top, 0.025, DARK) for x in (0.4, 0.6)]
    return [*arms, stroke(0.38, top, 0.62, top, 0.03, DARK)]


def boat(rng: Generator) -> list[Part]:
    """A sailing boat or a small steamer."""
    hull, trim = paint(rng), paint(rng)
    deck = -rng.uniform(0.15, 0.24)
    above = _sails(rng, deck) if rng.random() < 0.65 else _superstructure(rng, deck)
    return [
        *above,
        polygon([(0, deck), (1, 1.15 * deck), (0.93, 0.6 * deck), (0.8, 0), (0.12, 0), (0.04, 0.4 * deck)], hull),
        polygon([(0.01, deck), (1, 1.15 * deck), (0.97, 0.85 * deck), (0.02, 0.75 * deck)], trim),
    ]


def _sails(rng: Generator, deck: float) -> list[Part]:
    top, mast, foot = -rng.uniform(0.85, 1.2), rng.uniform(0.45, 0.58), 1.15 * deck
    main, jib = paint(rng, value=(0.6, 1.0)), paint(rng, value=(0.6, 1.0))
    wood = hsv(0.08, 0.5, rng.uniform(0.3, 0.6))
    leech = (0.2, 0.5 * (foot + top) - 0.02)
    parts = [polygon([(mast, top), (mast, foot), (0.04, foot + 0.02), leech], main)]
    if rng.random() < 0.8:
        parts.append(polygon([(mast, top + 0.1), (mast, foot + 0.02), (0.95, foot + 0.02)], jib))
    if rng.random() < 0.5:
        parts.append(polygon([(mast, top - 0.06), (mast - 0.14, top - 0.02), (mast, top + 0.02)], paint(rng)))
    return [
        *parts,
        stroke(mast, deck + 0.03, mast, top - 0.05, 0.04, wood),
        stroke(0.02, foot, mast, foot, 0.035, wood),
    ]


def _superstructure(rng: Generator, deck: float) -> list[Part]:
    cabin, funnel, glass = paint(rng), paint(rng), _glass(rng)
    roof, mast = deck - rng.uniform(0.14, 0.2), rng.uniform(0.72, 0.82)
    parts = [
        stroke(mast, deck + 0.03, mast, roof - 0.4, 0.04, DARK),
        polygon([(mast, roof - 0.38), (mast - 0.17, roof - 0.32), (mast, roof - 0.24)], paint(rng)),
        polygon([(0.26, roof - 0.28), (0.42, roof - 0.28), (0.44, roof), (0.26, roof)], funnel),
        rectangle(0.26, roof - 0.22, 0.43, roof - 0.15, tint(funnel, 0.5)),
        rectangle(0.14, roof, 0.64, deck + 0.04, cabin),
        rectangle(0.11, roof - 0.03, 0.68, roof + 0.015, tint(cabin, 0.6)),
    ]
    return parts + [disc(x, 0.5 * (roof + deck), 0.037, 0.037, glass) for x in (0.22, 0.333, 0.447, 0.56)]


def car(rng: Generator) -> list[Part]:
    """A saloon, an estate or an off-roader from the side."""
    body, glass, hub = paint(rng), _glass(rng), paint(rng, saturation=(0.0, 0.2))
    waist, roof = -rng.uniform(0.26, 0.31), -rng.uniform(0.42, 0.52)
    rear, front, radius = float(rng.choice([0.02, 0.1, 0.2])), rng.uniform(0.58, 0.66), rng.uniform(0.095, 0.12)
    lintel = roof + 0.035
    return [
        polygon([(rear, waist), (rear + 0.1, roof), (front, roof), (front + 0.16, waist)], body),
        polygon([(0, -0.1), (0, waist + 0.03), (0.05, waist), (0.8, waist), (0.97, waist + 0.07), (1, -0.1)], body),
        polygon([(rear + 0.07, waist), (rear + 0.13, lintel), (0.4, lintel), (0.4, waist)], glass),
        polygon([(0.44, waist), (0.44, lintel), (front - 0.02, lintel), (front + 0.1, waist)], glass),
        rectangle(0, -0.14, 1, -0.1, tint(body, 0.55)),
        rectangle(0.415, waist, 0.425, -0.1, tint(body, 0.6)),
        rectangle(0.46, waist + 0.03, 0.53, waist + 0.05, tint(body, 0.5)),
        polygon([(0.93, waist + 0.06), (0.975, waist + 0.09), (0.98, waist + 0.13), (0.93, waist + 0.12)], _LAMP),
        rectangle(0, waist + 0.04, 0.03, waist + 0.1, (200, 30, 30)),
        *_wheel(0.21, radius, hub),
        *_wheel(0.79, radius, hub),
    ]


def plane(rng: Generator) -> list[Part]:
    """An airliner from the side or from above."""
    return _plane_from_above(rng) if rng.random() < 0.3 else _plane_from_beside(rng)


def _plane_from_beside(rng: Generator) -> list[Part]:
    body, wing, tail, glass = paint(rng, value=(0.55, 1.0)), paint(rng), paint(rng), _glass(rng)
    r = rng.uniform(0.065, 0.085)
    belly = [(0.99, 0.3 * r), (0.94, 0.8 * r), (0.85, r), (0.3, r)]
    return [
        polygon([(0.5, -0.02), (0.32, -0.24), (0.39, -0.24), (0.64, -0.02)], tint(wing, 0.75)),
        polygon([(0, -0.28), (0.09, -0.28), (0.22, -0.9 * r), (0.06, -0.9 * r)], tail),
        polygon([(0, -r), (0.86, -r), (0.95, -0.6 * r), (1, 0.15 * r), *belly[1:], (0.08, -0.1 * r)], body),
        polygon([(0.06, 0.1 * r), (0.85, 0.1 * r), *belly], tint(tail, 0.85)),
        polygon([(-0.02, -0.12), (0.05, -0.12), (0.17, -0.02), (0.08, -0.02)], tint(wing, 0.85)),
        polygon([(0.89, -0.75 * r), (0.94, -0.6 * r), (0.97, -0.2 * r), (0.9, -0.2 * r)], glass),
        *_windows(0.2, 0.85, -0.6 * r, -0.05 * r, int(rng.integers(6, 10)), glass),
        polygon([(0.42, 0.3 * r), (0.64, 0.3 * r), (0.36, 0.28), (0.26, 0.28)], wing),
        disc(0.47, 0.17, 0.075, 0.035, tint(wing, 0.55)),
        disc(0.535, 0.17, 0.015, 0.033, (225, 225, 225)),
    ]


def _plane_from_above(rng: Generator) -> list[Part]:
    body, wing, glass = paint(rng, value=(0.55, 1.0)), paint(rng), _glass(rng)
    r, sweep = rng.uniform(0.055, 0.075), rng.uniform(0.02, 0.25)
    parts = []
    for side in (-1, 1):
        tip = 0.42 * side
        parts.append(polygon([(0.42, 0), (0.66, 0), (0.58 - sweep, tip), (0.47 - sweep, tip)], wing))
        parts.append(polygon([(0.02, 0), (0.14, 0), (0.08, 0.17 * side), (0, 0.17 * side)], tint(wing, 0.85)))
        parts.append(disc(0.58 - 0.4 * sweep, 0.19 * side, 0.07, 0.03, tint(body, 0.55)))
    half = [(0.0, 0.02), (0.15, r), (0.85, r), (0.96, 0.6 * r), (1.0, 0.0)]
    return [
        *parts,
        polygon([*half, *((x, -y) for x, y in half[::-1])], body),
        stroke(0.0, 0.0, 0.18, 0.0, 0.03, tint(wing, 0.6)),
        polygon([(0.89, -0.6 * r), (0.94, -0.45 * r), (0.94, 0.45 * r), (0.89, 0.6 * r)], glass),
    ]


def tree(rng: Generator) -> list[Part]:
    """A broadleaf or a conifer, in the colours of any season."""
    leaf = hsv(*_LEAVES[int(rng.integers(len(_LEAVES)))], rng.uniform(0.4, 0.9))
    bark = hsv(rng.uniform(0.03, 0.12), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.6))
    half = rng.uniform(0.035, 0.06)
    trunk = polygon([(-1.4 * half, 0), (-0.7 * half, -0.6), (0.7 * half, -0.6), (1.4 * half, 0)], bark)
    return [trunk, *(_needles(rng, leaf) if rng.random() < 0.3 else _foliage(rng, leaf, bark))]


def _needles(rng: Generator, leaf: Colour) -> list[Part]:
    half, tiers = rng.uniform(0.24, 0.32), int(rng.integers(3, 5))
    parts = []
    for i in range(tiers):
        low, wide = -0.15 - 0.6 * i / tiers, half * (1 - 0.75 * i / tiers)
        edge = [(x, low + rng.uniform(-0.04, 0.02)) for x in np.linspace(wide, -wide, 7).tolist()]
        parts.append(polygon([(0.0, low - 0.85 / tiers - 0.1), *edge], tint(leaf, rng.uniform(0.75, 1.15))))
    return parts


def _foliage(rng: Generator, leaf: Colour, bark: Colour) -> list[Part]:
    wide, tall = rng.uniform(0.22, 0.38), rng.uniform(0.25, 0.33)
    centre = tall - 1
    parts = [stroke(0, -0.3, side * 0.6 * wide, centre, 0.04, bark) for side in (-1, 1)]
    parts.append(blob(rng, 0, centre, 0.85 * wide, 0.85 * tall, tint(leaf, 0.75), rough=0.2))
    for angle in rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, 7, endpoint=False):
        x, y = 0.62 * wide * np.cos(angle), centre + 0.62 * tall * np.sin(angle)
        rx, ry = np.array([wide, tall]) * rng.uniform(0.35, 0.5, 2)
        parts.append(blob(rng, x, y, rx, ry, tint(leaf, rng.uniform(0.83, 1.07) - 0.3 * np.sin(angle)), rough=0.25))
    for _ in range(14):
        angle, far = rng.uniform(0, 2 * np.pi), 0.8 * np.sqrt(rng.random())
        x, y = far * wide * np.cos(angle), centre + far * tall * np.sin(angle)
        parts.append(blob(rng, x, y, 0.05, 0.04, tint(leaf, rng.uniform(0.6, 1.35)), rough=0.4))
    return parts


MAKERS: dict[str, Callable[[Generator], list[Part]]] = {
    "train": train,
    "boat": boat,
    "car": car,
    "plane": plane,
    "tree": tree,
}
