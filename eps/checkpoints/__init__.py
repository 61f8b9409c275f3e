"""Checkpoints that EPS and YOLACT have released, and published initial weights."""

from eps.checkpoints.released import load_released

__all__ = ["load_released"]
