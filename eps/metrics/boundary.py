"""Do masks end where objects end? Precision, recall and F1 of class-agnostic boundaries."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from scipy import ndimage

from eps.ops.pseudo_labels import IGNORE


class BoundaryCounts(NamedTuple):
    """Edge pixels of the prediction that are right and all that are judged, of the truth that are found and all.

    Counts of several photos add up.
    """

    right: int
    predicted: int
    found: int
    true: int


class BoundaryScores(NamedTuple):
    """In 0..1; nan where there is no edge to judge by."""

    precision: float
    recall: float
    f1: float


def edges(foreground: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels where the 4-neighbour Laplacian of a mask is not 0: both sides of its outline, but not the photo's rim.

    Source: EPS, the analysis of boundaries ("Laplacian edge detector").
    """
    return np.asarray(ndimage.laplace(foreground.astype(np.int8), mode="nearest") != 0)


def boundary_counts(
    prediction: UInt8[np.ndarray, "h w"], truth: UInt8[np.ndarray, "h w"], *, tolerance: float
) -> BoundaryCounts:
    """Match the edges of all foreground with the true ones: a pixel is right within `tolerance` pixels (Euclidean).

    Foreground is every label but 0 and 255. VOC draws a band of 255 along the true outlines: each pixel of 255 takes
    the nearest label of the truth, which puts the true edge into the middle of the band, and predicted edges there
    that meet no true edge are not judged. Source: EPS, precision, recall and F1 of class-agnostic edges; the paper
    leaves tolerance and void open.
    """
    void = truth == IGNORE
    true = edges(_foreground(_filled(truth, void)))
    predicted = edges(_foreground(prediction))
    right = predicted & _near(true, tolerance)
    judged = right | (predicted & ~void)
    return BoundaryCounts(
        right=int(right.sum()),
        predicted=int(judged.sum()),
        found=int((true & _near(predicted, tolerance)).sum()),
        true=int(true.sum()),
    )


def boundary_scores(counts: BoundaryCounts) -> BoundaryScores:
    """Turn (summed) counts into precision, recall and their harmonic mean."""
    precision = counts.right / counts.predicted if counts.predicted else float("nan")
    recall = counts.found / counts.true if counts.true else float("nan")
    both = precision + recall
    return BoundaryScores(precision, recall, 2 * precision * recall / both if both else both)


def _foreground(labels: Integer[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    return np.asarray((labels != 0) & (labels != IGNORE))


def _filled(truth: UInt8[np.ndarray, "h w"], void: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    if not void.any() or void.all():
        return truth
    nearest = ndimage.distance_transform_edt(void, return_distances=False, return_indices=True)
    return np.asarray(truth[tuple(nearest)])


def _near(edge: Bool[np.ndarray, "h w"], tolerance: float) -> Bool[np.ndarray, "h w"]:
    if not edge.any():
        return edge
    return np.asarray(ndimage.distance_transform_edt(~edge) <= tolerance)
