"""What every background threshold would make of localization maps, counted in one look at each photo."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from eps.ops.pseudo_labels import IGNORE


def threshold_matrices(
    scores: Float[Tensor, "c h w"] | Float[np.ndarray, "c h w"],
    truth: UInt8[np.ndarray, "h w"],
    *,
    thresholds: Sequence[float],
) -> Integer[np.ndarray, "t n m"]:
    """Give the `confusion_matrix` of `label_map(scores, threshold=t)` for each t, thresholds in ascending order.

    One histogram over truth, best class and the number of thresholds that the best score exceeds, summed up, has them
    all. Matrices of several photos add up. Raises ValueError where the thresholds do not ascend, or the truth holds a
    label that is neither in 0..c nor 255.
    """
    levels = np.asarray(thresholds, dtype=np.float32)  # as torch compares a float32 map with a number
    if (np.diff(levels) <= 0).any():
        raise ValueError(f"thresholds must ascend, not {list(thresholds)}")
    maps = np.asarray(scores, dtype=np.float32)
    classes, judged = maps.shape[0], truth != IGNORE
    if judged.any() and truth[judged].max() > classes:
        raise ValueError(f"truth holds the label {truth[judged].max()}, neither in 0..{classes} nor {IGNORE}")
    true = truth[judged].astype(np.int64)
    best = maps.argmax(axis=0)[judged]
    exceeded = np.searchsorted(levels, maps.max(axis=0)[judged], side="left")
    steps = len(levels) + 1
    cells = np.bincount((true * classes + best) * steps + exceeded, minlength=(classes + 1) * classes * steps)
    above = cells.reshape(classes + 1, classes, steps)[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    matrices = np.zeros((len(levels), classes + 1, classes + 2), dtype=np.int64)
    for number, matrix in enumerate(matrices):
        matrix[:, 1:-1] = above[:, :, number + 1]
        matrix[:, 0] = (above[:, :, 0] - above[:, :, number + 1]).sum(axis=1)
    return matrices
