from pathlib import Path

import numpy as np
from PIL import Image

from eps.report_page.threshold_curve import Sweep, draw


def colors(path: Path) -> set[str]:
    """Of the two curves and the line, those that the picture has."""
    known = {"#d9822b": "miou", "#3f88c5": "agreement", "#2a9d8f": "taken"}
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = {tuple(pixel) for pixel in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}
    return {name for color, name in known.items() if tuple(bytes.fromhex(color[1:])) in pixels}


def test_both_curves_and_the_threshold_that_was_taken(tmp_path: Path) -> None:
    draw(tmp_path / "curve.png", Sweep([0.1, 0.2, 0.3], [40.0, 60.0, 50.0], [20.0, 30.0, 45.0], 0.3))
    assert colors(tmp_path / "curve.png") == {"miou", "agreement", "taken"}
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_without_saliency_or_a_threshold(tmp_path: Path) -> None:
    draw(tmp_path / "curve.png", Sweep([0.1, 0.2], [40.0, 60.0], None, None))
    assert colors(tmp_path / "curve.png") == {"miou"}


def test_same_numbers_same_bytes(tmp_path: Path) -> None:
    sweep = Sweep([0.2], [40.0], [40.0], 0.2)
    for name in ("one", "other"):
        draw(tmp_path / f"{name}.png", sweep)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
