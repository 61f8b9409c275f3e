"""Polygons against plain geometry."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eps.data.scenery.shapes import blob, disc, hsv, paint, rectangle, stroke, tint


def area(points: NDArray[np.float64]) -> float:
    """Shoelace formula."""
    total = 0.0
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        total += x0 * y1 - x1 * y0
    return abs(total) / 2


def test_areas() -> None:
    assert area(rectangle(1, 2, 4, 6, (0, 0, 0)).points) == pytest.approx(12)
    assert area(stroke(0, 0, 3, 4, 0.5, (0, 0, 0)).points) == pytest.approx(2.5)
    assert area(disc(5, 5, 2, 3, (0, 0, 0)).points) == pytest.approx(6 * np.pi, rel=0.02)


def test_stroke_has_its_ends_in_the_middle_of_its_short_sides() -> None:
    points = stroke(1, 1, 4, 5, 2, (0, 0, 0)).points
    np.testing.assert_allclose((points[0] + points[3]) / 2, [1, 1])
    np.testing.assert_allclose((points[1] + points[2]) / 2, [4, 5])
    assert np.hypot(*(points[0] - points[3])) == pytest.approx(2)


def test_blob_wavers_within_its_roughness() -> None:
    points = blob(np.random.default_rng(0), 1, 2, 3, 3, (0, 0, 0), rough=0.2).points
    radius = np.hypot(*(points - [1, 2]).T) / 3
    assert 0.8 <= radius.min() < 0.9
    assert 1.1 < radius.max() <= 1.2


def test_colours() -> None:
    assert hsv(0.0, 1.0, 1.0) == hsv(1.0, 1.0, 1.0) == (255, 0, 0)
    assert hsv(1 / 3, 1.0, 0.5) == (0, 128, 0)
    assert tint((100, 200, 0), 1.5) == (150, 255, 0)
    rng = np.random.default_rng(0)
    grey = [max(colour) - min(colour) < 15 for colour in (paint(rng) for _ in range(1000))]
    assert np.mean(grey) == pytest.approx(0.2, abs=0.04)
