"""Fast non-maximum suppression: every box may suppress, even one that is itself suppressed."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

_FIRST = 8
"""`best_first_nms` begins with so many times the scores that are wanted, and then takes as many times more."""


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
    kept = ~overlapped(boxes[anchor], iou_threshold=iou_threshold)
    classes = kept.nonzero()[:, 0]
    best, order = ranked[kept].sort(descending=True, stable=True)
    best, order = best[:max_detections], order[:max_detections]
    chosen = anchor[kept][order]
    return Detections(boxes[chosen], best, classes[order], coefficients[chosen])


def best_first_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, "c n"],
    coefficients: Float[Tensor, "n k"],
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    top_k: int = 200,
    max_detections: int = 100,
) -> Detections:
    """What `fast_nms` finds, sooner where shapes may depend on the image (a CPU); scores are float32, not negative.

    A box is suppressed by higher scores alone, so all scores over a floor can be settled without those below it. The
    floor is lowered until enough boxes are left: hardly ever to the scores near zero of classes that are not there.
    """
    candidates = scores.amax(dim=0) > score_threshold
    boxes, scores, coefficients = boxes[candidates], scores[:, candidates].contiguous(), coefficients[candidates]
    entries = _FIRST * max_detections
    while True:
        everything = entries >= scores.numel()
        floor = 0.0 if everything else scores.flatten().topk(entries).values[-1]
        above = scores >= floor
        longest = int(above.sum(dim=1).max()) if scores.numel() else 0
        seen = above.any(dim=0).nonzero()[:, 0]  # the others have nothing to say at this floor
        ranked, place = highest(scores[:, seen], min(top_k, longest))
        anchor = seen[place]
        kept = ~overlapped(boxes[anchor], iou_threshold=iou_threshold) & (ranked >= floor)
        if everything or kept.sum() >= max_detections:
            break
        entries *= _FIRST
    best, order = highest(ranked[kept], max_detections)
    chosen = anchor[kept][order]
    return Detections(boxes[chosen], best, kept.nonzero()[order, 0], coefficients[chosen])


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
    chosen = chosen[~overlapped(boxes[chosen], iou_threshold=iou_threshold)]
    return Detections(boxes[chosen], best[chosen], classes[chosen], coefficients[chosen])


def highest(scores: Float[Tensor, "*b n"], count: int) -> tuple[Float[Tensor, "*b m"], Integer[Tensor, "*b m"]]:
    """The highest `count` float32 scores, or all of fewer, best first, and their places; of equal scores the first.

    topk alone leaves the order of equal scores open. The bits of floats that are not negative sort as the floats do,
    so a score and its place make one whole number that no other equals. Scores below zero come last.
    """
    last = scores.shape[-1] - 1
    place = torch.arange(scores.shape[-1], device=scores.device)
    keys = (scores.contiguous().view(torch.int32).long() << 32) | (last - place)
    top = keys.topk(min(count, len(place)), dim=-1).values
    return (top >> 32).int().view(torch.float32), last - (top & 0xFFFFFFFF)


def overlapped(boxes: Float[Tensor, "*c n 4"], *, iou_threshold: float) -> Bool[Tensor, "*c n"]:
    """Which of the boxes (corner form), sorted best first, overlap an earlier one by more than the threshold.

    Source: YOLACT section 3.4 (Fast NMS).
    """
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))  # areas of half precision are too coarse
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    area = (x2 - x1) * (y2 - y1)
    # Plane by plane: with the coordinates last, as torchvision has them, nothing vectorizes.
    shared = _shared(x1, x2).mul_(_shared(y1, y2))
    overlap = shared / (area[..., :, None] + area[..., None, :] - shared)
    # Comparing before reducing lets the 0 / 0 of two boxes without area pass as no overlap.
    return (overlap > iou_threshold).triu(diagonal=1).any(dim=-2)


def _shared(low: Float[Tensor, "*c n"], high: Float[Tensor, "*c n"]) -> Float[Tensor, "*c n n"]:
    """Of each pair of intervals: how long the part is that both have."""
    end = torch.minimum(high[..., :, None], high[..., None, :])
    return end.sub_(torch.maximum(low[..., :, None], low[..., None, :])).clamp_(min=0)
