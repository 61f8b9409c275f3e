"""Does a class claim the pixels of what merely occurs beside it?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from torch import Tensor


class LeakageCounts(NamedTuple):
    """Pixels of each class's context: those labelled as that class, and all. Counts of several photos add up."""

    leaked: Integer[np.ndarray, " c"]
    total: Integer[np.ndarray, " c"]


class Leakage(NamedTuple):
    """Share of a class's context that is labelled as the class, nan without context, and the mean over classes."""

    per_class: Float[np.ndarray, " c"]
    mean: float


def leakage_counts(
    prediction: Integer[Tensor, "h w"] | Integer[np.ndarray, "h w"],
    context: Integer[Tensor, "h w"] | Integer[np.ndarray, "h w"],
    *,
    classes: int,
) -> LeakageCounts:
    """Count, for each class, the pixels of its context and those of them that the prediction gives to the class.

    Both maps hold class + 1, and 0 for none; a predicted 255 (ignore) leaks nothing. Raises ValueError where the
    context holds another value.
    """
    predicted, surrounding = np.asarray(prediction), np.asarray(context).astype(np.int64)
    if surrounding.size and not 0 <= surrounding.min() <= surrounding.max() <= classes:
        raise ValueError(f"context holds a label outside of 0..{classes}")
    total = np.bincount(surrounding.ravel(), minlength=classes + 1)[1:]
    leaked = np.bincount(surrounding[predicted == surrounding], minlength=classes + 1)[1:]
    return LeakageCounts(leaked, total)


def leakage(leaked: Integer[np.ndarray, " c"], total: Integer[np.ndarray, " c"]) -> Leakage:
    """Turn (summed) `leakage_counts` into shares in 0..1; the mean is over the classes that have context, else nan."""
    share = _ratio(leaked, total)
    known = share[total > 0]
    return Leakage(share, float(known.mean()) if known.size else float("nan"))


def confusion_ratio(matrix: Integer[np.ndarray, "n m"], *, target: int, coincident: int) -> float:
    """How many pixels of `coincident` are taken for `target`, per pixel of `target` that is found.

    Both are rows of a `confusion_matrix`, so 0 is the background and class c is c + 1. It is inf where target is never
    found but confused, and nan where neither happens. Source: EPS, the confusion ratio m_{k,c} = FP_{k,c} / TP_c.
    """
    return float(_ratio(matrix[[coincident], target], matrix[[target], target])[0])


def context_confusion(
    leaked: Integer[np.ndarray, " c"], true_positive: Integer[np.ndarray, " c"]
) -> Float[np.ndarray, " c"]:
    """Give the confusion ratio of each class with its own context, which need not be a class: leaked / TP_c.

    `leaked` is that of `leakage_counts`, `true_positive` the diagonal of the confusion matrix without background.
    A class never found has inf, or nan where nothing leaks either. Source: EPS, as `confusion_ratio`.
    """
    return _ratio(leaked, true_positive)


def _ratio(count: Integer[np.ndarray, " n"], base: Integer[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(count, base, dtype=np.float64))
