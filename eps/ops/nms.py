"""Fast non-maximum suppression: every box may suppress, even one that is itself suppressed."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torchvision.ops import box_iou


class Detections(NamedTuple):
    """What is seen in one image, best first: boxes in corner form, classes from 0."""

    boxes: Float[Tensor, "d 4"]
    scores: Float[Tensor, " d"]
    classes: Integer[Tensor, " d"]
    coefficients: Float[Tensor, "d k"]


def fast_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, "c n"],
    coefficients: Float[Tensor, "n k"],
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    top_k: int = 200,
    max_detections: int = 100,
) -> Detections:
    """Suppress within each class: drop a box that a higher-scored one of its class overlaps by more than the threshold.

    Boxes are in corner form, scores the foreground probabilities (background left out). Anchors whose best score does
    not exceed `score_threshold` are dropped; the others stay for every class, also where they score less. Each class
    considers its best `top_k`, and the best `max_detections` over all classes are returned.
    Source: YOLACT section 3.4 (Fast NMS).
    """
    candidates = scores.amax(dim=0) > score_threshold
    boxes, scores, coefficients = boxes[candidates], scores[:, candidates], coefficients[candidates]
    ranked, anchor = (a[:, :top_k] for a in scores.sort(dim=1, descending=True, stable=True))
    kept = ~_overlapped(boxes[anchor], iou_threshold=iou_threshold)
    classes = kept.nonzero()[:, 0]
    best, order = ranked[kept].sort(descending=True, stable=True)
    best, order = best[:max_detections], order[:max_detections]
    chosen = anchor[kept][order]
    return Detections(boxes[chosen], best, classes[order], coefficients[chosen])


def cross_class_fast_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, "c n"],
    coefficients: Float[Tensor, "n k"],
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    top_k: int = 200,
) -> Detections:
    """Suppress over all classes at once: each anchor counts with its best class alone.

    Arguments as for `fast_nms`; at most `top_k` detections.
    Source: the released YOLACT's cross-class variant of YOLACT section 3.4.
    """
    best, classes = scores.max(dim=0)
    candidates = (best > score_threshold).nonzero()[:, 0]
    order = best[candidates].argsort(descending=True, stable=True)[:top_k]
    chosen = candidates[order]
    chosen = chosen[~_overlapped(boxes[chosen], iou_threshold=iou_threshold)]
    return Detections(boxes[chosen], best[chosen], classes[chosen], coefficients[chosen])


def _overlapped(boxes: Float[Tensor, "*c n 4"], *, iou_threshold: float) -> Bool[Tensor, "*c n"]:
    """Which of the boxes, sorted best first, overlap an earlier one by more than the threshold."""
    # Comparing before reducing lets the 0 / 0 of two boxes without area pass as no overlap.
    overlap: Tensor = box_iou(boxes, boxes)
    return (overlap > iou_threshold).triu(diagonal=1).any(dim=-2)
