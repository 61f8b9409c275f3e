"""How a salient-object network wants its photos, and what its output means: what its authors publish beside it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from scipy.special import expit

from eps.errors import UserError

SLACK = 0.01
"""How far beyond 0..1 the output of a final sigmoid may lie: half precision and resizing inside a network."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One network's preprocessing and the meaning of its output.

    `size` is (height, width) in pixels; `scale` is `unit` (0..1), `peak` (divided by the photo's largest value) or
    `byte` (0..255); `mean` and `std` are in those units and in the network's channel order; `layout` is `nchw` or
    `nhwc`, `channels` is `rgb` or `bgr`; `activation` is what is still to be applied to the output: `none`, `sigmoid`
    or `minmax`.
    """

    size: tuple[int, int]
    scale: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: str
    channels: str
    activation: str


def network_input(photo: Image.Image, recipe: Recipe) -> Float32[np.ndarray, "x y z"]:
    """An RGB photo as the recipe's network takes it: (3, height, width) or (height, width, 3)."""
    height, width = recipe.size
    values = np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
    if recipe.scale == "unit":
        values = values / np.float32(255)
    elif recipe.scale == "peak":
        values = values / max(values.max(), np.float32(1))  # a black photo has no peak
    if recipe.channels == "bgr":
        values = values[..., ::-1]
    normalised = (values - np.array(recipe.mean, dtype=np.float32)) / np.array(recipe.std, dtype=np.float32)
    return normalised.transpose(2, 0, 1) if recipe.layout == "nchw" else normalised


def saliency_map(
    values: Float[np.ndarray, "h w"], *, activation: str, size: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
    """A network's output for one photo as a saliency map, 0..255, of the photo's `size` (height, width).

    A constant output has no contrast to stretch: `minmax` makes it black. Raises `UserError` where the values show
    that `activation` cannot be meant.
    """
    low, high = float(values.min()), float(values.max())
    _check_range(low, high, activation)
    wide = values.astype(np.float32)
    if activation == "sigmoid":
        wide = expit(wide)
    elif activation == "minmax":
        wide = (wide - np.float32(low)) / np.float32(high - low) if high > low else np.zeros_like(wide)
    resized = Image.fromarray(wide).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    rounded: UInt8[np.ndarray, "H W"] = np.rint(np.clip(np.asarray(resized), 0, 1) * 255).astype(np.uint8)
    return rounded


def _check_range(low: float, high: float, activation: str) -> None:
    """Both mistakes would give maps that look like maps, and spoil whatever learns from them."""
    if not np.isfinite([low, high]).all():
        raise UserError("its output is not finite: is the preprocessing (saliency.scale, mean, std) the network's?")
    shown = f"its output lies in {low:.3g}..{high:.3g}"
    if activation == "none" and (low < -SLACK or high > 1 + SLACK):
        raise UserError(f"{shown}, not in 0..1: set saliency.activation=sigmoid for logits, else minmax")
    if activation == "sigmoid" and low >= 0 and high <= 1:
        raise UserError(f"{shown}: the network ends in a sigmoid of its own; set saliency.activation=none")
