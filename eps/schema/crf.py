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
    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float
