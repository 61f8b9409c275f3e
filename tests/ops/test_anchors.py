from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch

from eps.ops.anchors import anchors

GOLDEN = Path(__file__).parents[1] / "golden"
RATIOS = (1.0, 0.5, 2.0)


def pyramid(*sides: int) -> list[tuple[int, int]]:
    return [(side, side) for side in sides]


YOLACT = {"grids": pyramid(69, 35, 18, 9, 5), "ratios": RATIOS, "size": (550, 550)}
PLUS_SCALES = [[scale * 2 ** (third / 3) for third in range(3)] for scale in (24, 48, 96, 192, 384)]


def test_against_loops() -> None:
    grids, scales, size = [(2, 3), (1, 2)], [[8.0, 10.0], [20.0]], (40, 60)
    expected = []
    for (rows, columns), level in zip(grids, scales, strict=True):
        for row in range(rows):
            for column in range(columns):
                for scale in level:
                    for ratio in RATIOS:
                        w, h = scale * sqrt(ratio) / size[1], scale / sqrt(ratio) / size[0]
                        expected.append([(column + 0.5) / columns, (row + 0.5) / rows, w, h])
    found = anchors(grids=grids, scales=scales, ratios=RATIOS, size=size)
    torch.testing.assert_close(found, torch.tensor(expected))


def test_pixel_area_is_the_scale_squared_and_pixel_shape_the_ratio() -> None:
    found = anchors(grids=[(2, 2)], scales=[[16.0]], ratios=RATIOS, size=(100, 200)).reshape(4, 3, 4)
    width, height = found[..., 2] * 200, found[..., 3] * 100
    torch.testing.assert_close(width * height, torch.full((4, 3), 256.0))
    torch.testing.assert_close(width / height, torch.tensor(RATIOS).expand(4, 3))


def test_mirroring_the_image_mirrors_the_anchors() -> None:
    found = anchors(grids=[(4, 5)], scales=[[16.0]], ratios=RATIOS, size=(80, 80)).reshape(4, 5, 3, 4)
    mirrored = found.flip(1) * torch.tensor([-1.0, 1, 1, 1]) + torch.tensor([1.0, 0, 0, 0])
    torch.testing.assert_close(mirrored, found)


@pytest.mark.parametrize(("key", "square"), [("yolact_resnet50", True), ("yolact_plus_resnet50", False)])
def test_released_models(key: str, square: bool) -> None:
    golden = np.load(GOLDEN / "anchors.npz")
    scales = [[24.0], [48.0], [96.0], [192.0], [384.0]] if square else PLUS_SCALES
    found = anchors(**YOLACT, scales=scales, square=square).numpy()
    assert np.abs(found[:: golden["step"]] - golden[key]).max() < 1e-7
    assert found.sum(0, dtype=np.float64) == pytest.approx(golden[f"{key}_sum"], rel=1e-7)


@pytest.mark.parametrize(
    ("sides", "scales", "count"),
    [
        ((69, 35, 18, 9, 5), [[32.0], [64.0], [128.0], [256.0], [512.0]], 19248),
        ((50, 25, 13, 7, 4), [[17.0], [34.0], [69.0], [139.0], [279.0]], 10077),
        ((88, 44, 22, 11, 6), [[30.0], [61.0], [122.0], [244.0], [488.0]], 30963),
        ((69, 35, 18, 9, 5), PLUS_SCALES, 57744),
    ],
)
def test_counts_of_the_released_models(sides: tuple[int, ...], scales: list[list[float]], count: int) -> None:
    assert anchors(grids=pyramid(*sides), scales=scales, ratios=RATIOS, size=(550, 550)).shape == (count, 4)


def test_one_cell() -> None:
    found = anchors(grids=[(1, 1)], scales=[[10.0]], ratios=[1.0], size=(10, 10))
    assert found.tolist() == [[0.5, 0.5, 1.0, 1.0]]


def test_every_level_needs_its_scales() -> None:
    with pytest.raises(ValueError, match="shorter"):
        anchors(grids=pyramid(2, 1), scales=[[8.0]], ratios=RATIOS, size=(16, 16))
