from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from eps.errors import UserError
from eps.saliency.recipe import Recipe, network_input, saliency_map

PLAIN = Recipe(
    size=(4, 6),
    scale="byte",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    layout="nchw",
    channels="rgb",
    activation="none",
)


def photo(height: int = 4, width: int = 6, *, largest: int = 256) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, largest, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("scale", ["unit", "peak", "byte"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_input_against_loops(scale: str, layout: str, channels: str) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 2.0, 4.0)
    recipe = replace(PLAIN, scale=scale, mean=mean, std=std, layout=layout, channels=channels)
    image = photo(largest=200)
    pixels = np.asarray(image)
    found = network_input(image, recipe)
    divisor = {"unit": 255, "peak": int(pixels.max()), "byte": 1}[scale]
    assert divisor != 255 or scale == "unit"
    for y in range(4):
        for x in range(6):
            for k in range(3):
                channel = k if channels == "rgb" else 2 - k
                expected = (float(pixels[y, x, channel]) / divisor - mean[k]) / std[k]
                value = found[k, y, x] if layout == "nchw" else found[y, x, k]
                assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_imagenet_values_of_one_pixel() -> None:
    """Worked out by hand: (255 / 255 - 0.485) / 0.229, (0 - 0.456) / 0.224, (51 / 255 - 0.406) / 0.225."""
    recipe = replace(PLAIN, size=(1, 1), scale="unit", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    found = network_input(Image.new("RGB", (1, 1), (255, 0, 51)), recipe)
    np.testing.assert_allclose(found.ravel(), [2.248908, -2.035714, -0.915556], rtol=1e-5)


def test_black_photo_has_no_peak() -> None:
    assert not network_input(Image.new("RGB", (6, 4)), replace(PLAIN, scale="peak")).any()


def test_resizing_keeps_sides_apart() -> None:
    pixels = np.zeros((40, 90, 3), dtype=np.uint8)
    pixels[:20, :30] = 200  # the upper half of the left third
    found = network_input(Image.fromarray(pixels), PLAIN)
    assert found.shape == (3, 4, 6)
    np.testing.assert_allclose(found[:, 0, 0], 200)
    assert found[0].argmax() == 0
    assert not found[:, 3].any()
    assert not found[:, :, 3:].any()


@pytest.mark.parametrize("activation", ["none", "sigmoid", "minmax"])
def test_map_against_loops(activation: str) -> None:
    low, high = (0, 1) if activation == "none" else (-3, 5)
    values = np.random.default_rng(1).uniform(low, high, size=(4, 6)).astype(np.float32)
    found = saliency_map(values, activation=activation, size=(4, 6))
    for y in range(4):
        for x in range(6):
            v = float(values[y, x])
            if activation == "sigmoid":
                v = 1 / (1 + np.exp(-v))
            if activation == "minmax":
                v = (v - float(values.min())) / float(values.max() - values.min())
            assert abs(int(found[y, x]) - 255 * v) <= 0.501
    if activation == "minmax":
        assert (found.min(), found.max()) == (0, 255)


def test_minmax_forgets_scale_and_offset() -> None:
    values = np.random.default_rng(2).normal(size=(5, 7)).astype(np.float32)
    one, other = (saliency_map(v, activation="minmax", size=(9, 8)) for v in (values, 4 * values + 100))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_map_has_the_photos_size() -> None:
    values = np.zeros((4, 6), dtype=np.float32)
    values[:2] = 1
    found = saliency_map(values, activation="none", size=(40, 90))
    assert found.shape == (40, 90)
    assert (found[:10] == 255).all()
    assert (found[-10:] == 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_extreme_logits(dtype: type) -> None:
    values = np.array([[-6e4, -1, 0], [6e4, 1, 40]], dtype=dtype)
    found = saliency_map(values, activation="sigmoid", size=(2, 3))
    np.testing.assert_array_equal(found, [[0, 69, 128], [255, 186, 255]])


def test_constant_output_is_blank() -> None:
    flat = np.full((3, 3), 7.0, dtype=np.float32)
    assert not saliency_map(flat, activation="minmax", size=(5, 5)).any()
    assert (saliency_map(flat, activation="sigmoid", size=(5, 5)) == 255).all()


@pytest.mark.parametrize(
    ("value", "activation", "told"),
    [
        (-2.0, "none", "in -2..0.5, not in 0..1: set saliency.activation=sigmoid"),
        (1.5, "none", "not in 0..1"),
        (0.9, "sigmoid", "in 0.5..0.9: the network ends in a sigmoid of its own; set saliency.activation=none"),
        (np.nan, "minmax", "not finite"),
        (np.inf, "sigmoid", "not finite"),
    ],
)
def test_activation_that_cannot_be_meant(value: float, activation: str, told: str) -> None:
    values = np.full((3, 3), 0.5, dtype=np.float32)
    values[1, 1] = value
    with pytest.raises(UserError, match=told):
        saliency_map(values, activation=activation, size=(3, 3))


def test_rounding_beyond_one_is_no_error() -> None:
    values = np.array([[-0.001, 1.001], [0, 1]], dtype=np.float16)
    np.testing.assert_array_equal(saliency_map(values, activation="none", size=(2, 2)), [[0, 255], [0, 255]])
