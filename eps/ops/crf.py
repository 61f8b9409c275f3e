"""A dense CRF draws scores to the edges of the photo."""

from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from eps.errors import UserError

SMALLEST = 1e-5  # pydensecrf's default floor of probabilities, which the released EPS keeps
Planes = TypeVar("Planes", Tensor, np.ndarray)


def dense_crf(
    image: UInt8[Tensor, "h w 3"] | UInt8[np.ndarray, "h w 3"],
    probabilities: Float[Planes, "n h w"],
    *,
    iterations: int = 10,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 80.0,
    bilateral_srgb: float = 13.0,
    bilateral_compat: float = 10.0,
    backend: Literal["pydensecrf"] = "pydensecrf",
) -> Float[Planes, "n h w"]:
    """Marginals of n labels after mean-field inference in a fully connected CRF over an RGB photo.

    `probabilities` need not sum to 1; they are clipped to 1e-5..1. `*_sxy` are in pixels, `bilateral_srgb` in grey
    levels. Tensors give a float32 tensor on their device, arrays a float32 array. Raises UserError where the backend
    is unknown or not installed. Source: Kraehenbuehl and Koltun, NIPS 2011, equations 2 to 4; the defaults are those
    of the released EPS.
    """
    if backend != "pydensecrf":
        raise UserError(f"unknown CRF backend {backend!r}: use 'pydensecrf'")
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise UserError("the CRF needs pydensecrf: pip install pydensecrf2, or set pseudo_masks.crf=none") from error

    start = _as_array(probabilities).astype(np.float32)
    labels, height, width = start.shape
    if start.size == 0:
        return _like(start, probabilities)
    crf = DenseCRF2D(width, height, labels)
    unary = -np.log(np.clip(start, SMALLEST, 1.0)).reshape(labels, -1)
    crf.setUnaryEnergy(np.ascontiguousarray(unary))
    crf.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_compat)
    photo = np.array(_as_array(image), dtype=np.uint8, order="C")  # a copy, as pydensecrf refuses read-only memory
    crf.addPairwiseBilateral(sxy=bilateral_sxy, srgb=bilateral_srgb, rgbim=photo, compat=bilateral_compat)
    marginals = np.array(crf.inference(iterations), dtype=np.float32)
    return _like(marginals.reshape(labels, height, width), probabilities)


def _as_array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _like(marginals: Float[np.ndarray, "n h w"], example: Planes) -> Planes:
    if isinstance(example, Tensor):
        return torch.from_numpy(marginals).to(example.device)
    return marginals
