"""Records that datasets hand out."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from eps.nn.normalization import Photos


class TaggedPhotos(NamedTuple):
    """A batch for stage 1. Without saliency maps (CAM) `saliency` is zero."""

    photos: Photos
    saliency: UInt8[Tensor, "b 1 H W"]
    """0..255."""
    tags: Float[Tensor, "b c"]


@runtime_checkable
class MaskSource(Protocol):
    """Where stage 3's masks come from: pseudo-masks, or the truth."""

    def __call__(self, photo: str) -> "PhotoMasks": ...

    def semantic(self, photo: str) -> UInt8[np.ndarray, "H W"]: ...


class PhotoMasks(NamedTuple):
    """Masks of one photo at its size."""

    semantic: UInt8[np.ndarray, "H W"]
    """Class index + 1, 0 background, 255 ignore."""
    masks: Bool[np.ndarray, "n H W"]
    classes: Integer[np.ndarray, " n"]
    uncertain: Bool[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"] | None = None
    """Pixels, xyxy, where annotators have drawn them and not only masks."""
    areas: Float[np.ndarray, " n"] | None = None
    """As annotated, in pixels: what COCO calls small, medium and large goes by them."""


class LabelledPhotos(NamedTuple):
    """A batch of augmented photos for a segmenter of semantic maps alone."""

    photos: Photos
    labels: UInt8[Tensor, "b H W"]
    """Class index + 1, 0 background, 255 ignore."""


class PhotoInstances(NamedTuple):
    """One augmented photo for stage 3."""

    photo: Float[Tensor, "3 H W"] | UInt8[Tensor, "4 H W"]
    """As one of `Photos`."""
    semantic: UInt8[Tensor, "H W"]
    masks: Bool[Tensor, "n H W"]
    classes: Integer[Tensor, " n"]
    uncertain: Bool[Tensor, " n"]
    tags: Float[Tensor, " c"]
    """Of the whole photo, and of what was pasted onto it: 1 or 0."""
