"""A dense CRF draws scores to the edges of the photo: by pydensecrf on a CPU, or in torch on any device."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from eps.errors import UserError
from eps.ops.mean_field import SMALLEST, CRFParameters, mean_field

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
    backend: str = "pydensecrf",
) -> Float[Planes, "n h w"]:
    """Marginals of n labels after mean-field inference in a fully connected CRF over an RGB photo.

    `probabilities` need not sum to 1; they are clipped to 1e-5..1. `*_sxy` are in pixels, `bilateral_srgb` in grey
    levels. Tensors give a float32 tensor on their device, arrays a float32 array. Backends are pydensecrf (one thread)
    and torch (the CPU's threads, or the GPU that has the probabilities): the same lattice, equal but for rounding.
    Raises UserError where the backend is unknown or not installed. Source: Kraehenbuehl and Koltun, NIPS 2011,
    equations 2 to 4; the defaults are those of the released EPS.
    """
    parameters = CRFParameters(
        iterations, gaussian_sxy, gaussian_compat, bilateral_sxy, bilateral_srgb, bilateral_compat
    )
    return dense_crfs([image], [probabilities], parameters, backend=backend)[0]


def dense_crfs(
    images: Sequence[UInt8[Tensor, "_h _w 3"] | UInt8[np.ndarray, "_h _w 3"]],
    probabilities: Sequence[Float[Planes, "_n _h _w"]],
    parameters: CRFParameters,
    *,
    backend: str,
) -> list[Float[Planes, "_n _h _w"]]:
    """`dense_crf` of several photos, of any sizes and numbers of labels: at once by the backend torch."""
    if backend == "pydensecrf":
        found = [
            _by_pydensecrf(_as_array(image), _as_array(planes).astype(np.float32), parameters)
            for image, planes in zip(images, probabilities, strict=True)
        ]
        return [_like(marginals, planes) for marginals, planes in zip(found, probabilities, strict=True)]
    if backend == "torch":
        return _in_torch(images, probabilities, parameters)
    raise UserError(f"unknown CRF backend {backend!r}: use 'pydensecrf' or 'torch'")


def _by_pydensecrf(
    image: UInt8[np.ndarray, "h w 3"], start: Float[np.ndarray, "n h w"], parameters: CRFParameters
) -> Float[np.ndarray, "n h w"]:
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise UserError(
            "the CRF needs pydensecrf: pip install pydensecrf2, or set pseudo_masks.crf or predict.crf to torch or none"
        ) from error

    labels, height, width = start.shape
    if start.size == 0:
        return start
    crf = DenseCRF2D(width, height, labels)
    unary = -np.log(np.clip(start, SMALLEST, 1.0)).reshape(labels, -1)
    crf.setUnaryEnergy(np.ascontiguousarray(unary))
    crf.addPairwiseGaussian(sxy=parameters.gaussian_sxy, compat=parameters.gaussian_compat)
    photo = np.array(image, dtype=np.uint8, order="C")  # a copy, as pydensecrf refuses read-only memory
    crf.addPairwiseBilateral(
        sxy=parameters.bilateral_sxy,
        srgb=parameters.bilateral_srgb,
        rgbim=photo,
        compat=parameters.bilateral_compat,
    )
    marginals = np.array(crf.inference(parameters.iterations), dtype=np.float32)
    return marginals.reshape(labels, height, width)


def _in_torch(
    images: Sequence[UInt8[Tensor, "_h _w 3"] | UInt8[np.ndarray, "_h _w 3"]],
    probabilities: Sequence[Float[Planes, "_n _h _w"]],
    parameters: CRFParameters,
) -> list[Float[Planes, "_n _h _w"]]:
    """Photos without a label or a pixel are left out."""
    tensors = [(_as_tensor(image), _as_tensor(planes)) for image, planes in zip(images, probabilities, strict=True)]
    pairs = [(image, planes if planes.is_cuda else planes.cpu()) for image, planes in tensors]
    full = [(image, planes) for image, planes in pairs if planes.numel()]
    found = iter(mean_field([image for image, _ in full], [planes for _, planes in full], parameters) if full else [])
    made = [next(found) if planes.numel() else planes.float() for _, planes in pairs]
    return [_like(marginals, planes) for marginals, planes in zip(made, probabilities, strict=True)]


def _as_array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _as_tensor(values: Tensor | np.ndarray) -> Tensor:
    return values if isinstance(values, Tensor) else torch.tensor(values)  # a copy: torch shares no read-only memory


def _like(marginals: Float[np.ndarray, "n h w"] | Float[Tensor, "n h w"], example: Planes) -> Planes:
    """The same numbers as the same kind of thing, on the same device."""
    if isinstance(example, Tensor):
        return torch.as_tensor(marginals, device=example.device)
    return _as_array(marginals)
