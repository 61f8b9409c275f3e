"""Mean intersection over union and its relatives, from one confusion matrix."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from torch import Tensor

from eps.ops.pseudo_labels import IGNORE


class SegmentationScores(NamedTuple):
    """Scores in 0..1; per class, background first, nan where a class has no pixel to judge by."""

    iou: Float[np.ndarray, " n"]
    miou: float
    precision: Float[np.ndarray, " n"]
    recall: Float[np.ndarray, " n"]
    pixel_accuracy: float
    fw_iou: float
    ignored: float


def confusion_matrix(
    prediction: Integer[Tensor, "*shape"] | Integer[np.ndarray, "*shape"],
    truth: Integer[Tensor, "*shape"] | Integer[np.ndarray, "*shape"],
    *,
    classes: int,
) -> Integer[np.ndarray, "n m"]:
    """Count pixels: rows are the truth 0..classes, columns the prediction, the last column predicted 255 (ignore).

    So n = classes + 1 and m = classes + 2. Matrices of several photos add up. Pixels whose truth is 255 are not
    counted. Raises ValueError where a label is neither in 0..classes nor 255.
    """
    predicted, true = np.asarray(prediction).astype(np.int64), np.asarray(truth).astype(np.int64)
    for name, labels in (("prediction", predicted), ("truth", true)):
        wrong = labels[(labels != IGNORE) & ((labels < 0) | (labels > classes))]
        if wrong.size:
            raise ValueError(f"{name} holds the label {wrong[0]}, neither in 0..{classes} nor {IGNORE}")
    judged = true != IGNORE
    columns = np.where(predicted == IGNORE, classes + 1, predicted)[judged]
    cells = np.bincount(true[judged] * (classes + 2) + columns, minlength=(classes + 1) * (classes + 2))
    return cells.reshape(classes + 1, classes + 2)


def segmentation_scores(matrix: Integer[np.ndarray, "n m"]) -> SegmentationScores:
    """Score a `confusion_matrix`; predicted 255 counts as wrong, and its share is `ignored`.

    A class absent from truth and prediction has the IoU nan and is left out of the mean; scores of nothing are nan.
    `fw_iou` weighs IoUs by the classes' share of the truth. Source: PASCAL VOC; Long et al., CVPR 2015, section 5.
    """
    hits = np.diagonal(matrix).astype(np.float64)
    true, predicted = matrix.sum(axis=1), matrix[:, :-1].sum(axis=0)
    total = matrix.sum()
    with np.errstate(invalid="ignore"):
        iou = hits / (true + predicted - hits)
        return SegmentationScores(
            iou=iou,
            miou=float(np.mean(iou[~np.isnan(iou)])) if total else float("nan"),
            precision=hits / predicted,
            recall=hits / true,
            pixel_accuracy=float(hits.sum() / total),
            fw_iou=float(np.sum(true / total * np.where(true > 0, iou, 0))),
            ignored=float(matrix[:, -1].sum() / total),
        )
