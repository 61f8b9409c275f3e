"""What an off-the-shelf saliency detector would say of a scene: soft, uneven, now and then blind, and classless."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator
from PIL import Image, ImageFilter

from eps.data.scenery.light import smooth_noise

_MISSED = 0.07
_SMALL = 500 / 128**2  # share of the photo below which a thing is not eroded: it might vanish


def detect(
    rng: Generator, size: int, objects: list[Bool[np.ndarray, "size size"]], others: list[Bool[np.ndarray, "size size"]]
) -> UInt8[np.ndarray, "size size"]:
    """Saliency 0..255 of the visible masks: each object is missed with a probability of 0.07, the others never."""
    found = np.zeros((size, size), dtype=np.float32)
    for i, mask in enumerate([*objects, *others]):
        strength, missed, seen = rng.uniform(0.7, 1.0), rng.random() < _MISSED, _soften(rng, mask)
        if i >= len(objects) or not missed:
            found = np.maximum(found, np.float32(strength) * seen)
    haze = 0.03 * (1 + smooth_noise(rng, size, 5))
    level = 255 * (found * (1 + 0.12 * smooth_noise(rng, size, 8)) + haze)
    return np.clip(np.rint(level), 0, 255).astype(np.uint8)


def _soften(rng: Generator, mask: Bool[np.ndarray, "size size"]) -> Float[np.ndarray, "size size"]:
    """The mask dilated, eroded or neither, then blurred."""
    kind, sigma = rng.integers(3), rng.uniform(1.0, 2.5) * len(mask) / 128
    image = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    if kind == 0:
        image = image.filter(ImageFilter.MaxFilter(3))
    elif kind == 1 and mask.mean() > _SMALL:
        image = image.filter(ImageFilter.MinFilter(3))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(sigma))).astype(np.float32) / 255
