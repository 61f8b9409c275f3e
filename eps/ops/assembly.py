"""Masks and maps at the photo's size by the quickest way that a device has.

What they are, `masks` and `localization` say. On a CPU masks are made box by box (`mask_windows`), on CUDA by fused
kernels (`kernels`) where Triton is installed and works, anywhere else as written.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from eps.ops.localization import best_labels, localization_maps
from eps.ops.mask_windows import windowed_masks
from eps.ops.masks import instance_masks

Made = TypeVar("Made")

_trouble: list[Exception] = []
"""Why the kernels are not used any more in this process."""


def photo_masks(
    prototypes: Float[Tensor, "k h w"],
    coefficients: Float[Tensor, "n k"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: tuple[int, int],
) -> Bool[Tensor, "n height width"]:
    """`eps.ops.masks.instance_masks`, quickly: rounding may move a pixel whose probability is one half."""
    if prototypes.device.type == "cpu":
        return windowed_masks(prototypes, coefficients, boxes, size=size)

    def fused() -> Tensor:
        from eps.ops.kernels import fused_masks

        return fused_masks(prototypes, coefficients, boxes, size=size)

    return _either(fused, lambda: instance_masks(prototypes, coefficients, boxes, size=size), prototypes.device)


def photo_labels(maps: Float[Tensor, "b c1 h w"], *, size: tuple[int, int]) -> UInt8[Tensor, "b height width"]:
    """`eps.ops.localization.best_labels`, quickly: rounding may decide between equals."""

    def fused() -> Tensor:
        from eps.ops.kernels import fused_labels

        return fused_labels(maps, size=size)

    return _either(fused, lambda: best_labels(maps, size=size), maps.device)


def photo_localization(
    maps: Float[Tensor, "b m h w"], *, background: bool, size: tuple[int, int], classes: Sequence[int] | None = None
) -> Float[Tensor, "b c height width"]:
    """`eps.ops.localization.localization_maps`, quickly where there is a background.

    Of `classes` alone, where given: a CPU then enlarges no others, a GPU's kernel does not care.
    """

    def fused() -> Tensor:
        from eps.ops.kernels import fused_shares

        made = fused_shares(maps, size=size)
        return made if classes is None else made[:, list(classes)]

    def plain() -> Tensor:
        return localization_maps(maps, background=background, size=size, classes=classes)

    return _either(fused, plain, maps.device) if background and not maps.requires_grad else plain()


def _either(fused: Callable[[], Made], plain: Callable[[], Made], device: torch.device) -> Made:
    """The fused kernel's result, or the plain one's, for good once a kernel has failed."""
    if device.type != "cuda" or _trouble:
        return plain()
    try:
        return fused()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton's have no class in common; it also needs a C compiler and a recent GPU
        _trouble.append(error)
        if not isinstance(error, ImportError):
            reason = str(error).replace("\n", " ")[:200]
            warnings.warn(f"no fused kernels, plain torch instead, slower: {reason}", RuntimeWarning, stacklevel=3)
        return plain()
