"""From flat colours to a photo: texture, light and shade, and a sensor's noise."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator
from PIL import Image


def smooth_noise(rng: Generator, size: int, grid: int) -> Float[np.ndarray, "size size"]:
    """Noise in -1..1 with `grid` independent values a side; interpolated in integers, as alike everywhere."""
    coarse = Image.fromarray(rng.integers(0, 256, (grid, grid), dtype=np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(np.float32) / 127.5 - 1


def light(
    rng: Generator,
    flat: UInt8[np.ndarray, "size size 3"],
    grain: Float[np.ndarray, "size size"],
    things: list[Bool[np.ndarray, "size size"]],
) -> UInt8[np.ndarray, "size size 3"]:
    """Light flat colours from one side, roughen them by `grain` (a share of the brightness), shade the things."""
    size = len(flat)
    fine = 1.2 * smooth_noise(rng, size, size) + 0.8 * smooth_noise(rng, size, size // 2)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    level, across, down = rng.uniform([0.75, -0.15, -0.15], [1.15, 0.15, 0.15]).astype(np.float32)
    gain = (1 + grain * fine + 0.1 * smooth_noise(rng, size, 6)) * (level + across * ramp + down * ramp[:, None])
    for mask in things:
        gain *= _shade(mask, rng.uniform(0.05, 0.3))
    cast = rng.uniform(0.92, 1.08, 3).astype(np.float32)
    sensor = rng.standard_normal(flat.shape, dtype=np.float32) * np.float32(rng.uniform(1, 5))
    lit: UInt8[np.ndarray, "size size 3"] = np.clip(np.rint(flat * gain[..., None] * cast + sensor), 0, 255).astype(
        "u1"
    )
    return lit


def _shade(mask: Bool[np.ndarray, "size size"], depth: float) -> Float[np.ndarray, "size size"]:
    """A gain that falls from the thing's head to its foot."""
    rows = np.flatnonzero(mask.any(axis=1))
    fall = np.clip((np.arange(len(mask)) - rows[0]) / len(rows), 0, 1) if len(rows) else np.zeros(len(mask))
    return np.where(mask, 1 + depth * (0.5 - fall[:, None]), 1).astype(np.float32)
