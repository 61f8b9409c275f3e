"""Salient things of no class, which a saliency detector finds as readily as the objects."""

from numpy.random import Generator

from eps.data.scenery.shapes import DARK, Colour, Part, disc, paint, polygon, rectangle, stroke, tint


def distractor(rng: Generator) -> list[Part]:
    """A ball, a box, a sign, a barrel or a balloon."""
    makers = (_ball, _box, _sign, _barrel, _balloon)
    return makers[int(rng.integers(len(makers)))](paint(rng, saturation=(0.5, 1.0)), paint(rng))


def _ball(first: Colour, second: Colour) -> list[Part]:
    stripes = [disc(0, 0, 1, 1, first), disc(0, 0, 0.4, 1, second), disc(0, 0, 0.15, 0.99, first)]
    return [*stripes, disc(-0.4, -0.45, 0.16, 0.16, tint(first, 1.5))]


def _box(first: Colour, second: Colour) -> list[Part]:
    return [
        rectangle(0, 0, 1, 1, first),
        polygon([(0, 0), (0.35, -0.3), (1.35, -0.3), (1, 0)], tint(first, 1.3)),
        polygon([(1, 0), (1.35, -0.3), (1.35, 0.7), (1, 1)], tint(first, 0.6)),
        rectangle(0.42, 0, 0.58, 1, second),
    ]


def _sign(first: Colour, second: Colour) -> list[Part]:
    return [
        rectangle(-0.08, 0, 0.08, 1.5, (130, 130, 130)),
        polygon([(-0.62, 0.45), (0, -0.6), (0.62, 0.45)], first),
        polygon([(-0.38, 0.32), (0, -0.32), (0.38, 0.32)], (245, 245, 240)),
        rectangle(-0.06, -0.1, 0.06, 0.24, tint(second, 0.5)),
    ]


def _barrel(first: Colour, second: Colour) -> list[Part]:
    return [
        polygon([(-0.4, -0.7), (0.4, -0.7), (0.52, 0), (0.4, 0.7), (-0.4, 0.7), (-0.52, 0)], first),
        disc(0, -0.7, 0.4, 0.13, tint(first, 0.6)),
        rectangle(-0.48, -0.4, 0.48, -0.28, tint(second, 0.6)),
        rectangle(-0.48, 0.28, 0.48, 0.4, tint(second, 0.6)),
    ]


def _balloon(first: Colour, second: Colour) -> list[Part]:
    return [
        stroke(0, 0.9, 0.1, 1.7, 0.08, DARK),
        polygon([(-0.14, 1.08), (0.14, 1.08), (0, 0.85)], second),
        disc(0, 0, 0.75, 0.95, first),
        disc(-0.28, -0.35, 0.14, 0.22, tint(first, 1.6)),
    ]
