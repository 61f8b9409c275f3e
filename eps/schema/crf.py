"""The dense CRF that refines masks: in `pseudo_masks` and in `predict`."""

from dataclasses import dataclass
from enum import StrEnum


class CRFBackend(StrEnum):
    none = "none"
    pydensecrf = "pydensecrf"
    """The literature's implementation, on one CPU thread: needs the package pydensecrf2."""
    torch = "torch"
    """The same in torch, labels equal but for rounding: all CPU threads, or a GPU with several photos at once."""


@dataclass(kw_only=True, slots=True)
class CRFConfig:
    """Kernels of the dense CRF (Kraehenbuehl and Koltun, 2011): widths in pixels and grey levels, weights."""

    iterations: int
    """Of mean-field inference."""
    gaussian_sxy: float
    """Width of the smoothness kernel in pixels."""
    gaussian_compat: float
    """Weight of the smoothness kernel."""
    bilateral_sxy: float
    """Width of the appearance kernel in pixels."""
    bilateral_srgb: float
    """Width of the appearance kernel in grey levels."""
    bilateral_compat: float
    """Weight of the appearance kernel."""
