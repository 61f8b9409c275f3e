"""What is scored against truth, and how: `evaluate`."""

from dataclasses import dataclass
from enum import StrEnum


class Subject(StrEnum):
    pseudo_masks = "pseudo_masks"
    segmenter = "segmenter"


@dataclass(kw_only=True, slots=True)
class EvaluateConfig:
    subject: Subject
    """What is scored."""
    splits: list[str]
    """Of the dataset, each scored by itself."""
    photos: int
    """Score so many photos of each split, its first ones; 0 for all."""
    shuffle: bool
    """With `photos`, a sample drawn by `seed` in place of the first ones."""
    thresholds: list[float]
    """Also score the pseudo-masks' stored maps at these background thresholds, in ascending order and one pass: curves
    of mIoU (an oracle: it reads truth) and of agreement with saliency (free of truth), and the best by truth. Empty:
    none."""
    boundary_tolerance: float
    """How far from a true boundary a predicted one is still right, in pixels."""
    pairs: list[list[str]]
    """Confusion ratios to report, as [target,coincident] class names: pixels of `coincident` that are taken for
    `target`, per pixel of `target` that is found (EPS). `background` is a name too. Empty: none."""
