"""The palette against the colours that PASCAL VOC publishes."""

import pytest

from eps.data.palette import voc_palette


def test_is_what_pillow_wants() -> None:
    palette = voc_palette()
    assert len(palette) == 768
    assert all(0 <= value <= 255 for value in palette)
    assert len({tuple(palette[i : i + 3]) for i in range(0, 768, 3)}) == 256


@pytest.mark.parametrize(
    ("index", "colour"),
    [
        (0, [0, 0, 0]),
        (1, [128, 0, 0]),  # aeroplane
        (2, [0, 128, 0]),  # bicycle
        (8, [64, 0, 0]),  # cat
        (15, [192, 128, 128]),  # person
        (20, [0, 64, 128]),  # tv monitor
        (255, [224, 224, 192]),  # void
    ],
)
def test_published_colours(index: int, colour: list[int]) -> None:
    assert voc_palette()[3 * index : 3 * index + 3] == colour
