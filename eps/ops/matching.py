"""Which anchor answers for which truth."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torchvision.ops import box_iou

from eps.ops.boxes import center_to_corner, coverage

NEUTRAL = -1
BACKGROUND = 0


@dataclass(frozen=True)
class Match:
    """What each anchor is to learn: its class (-1 neutral, 0 background, c + 1 foreground) and its truth's row."""

    classes: Integer[Tensor, " n"]
    index: Integer[Tensor, " n"]


def match(
    truth: Float[Tensor, "m 4"],
    classes: Integer[Tensor, " m"],
    anchors: Float[Tensor, "n 4"],
    *,
    crowds: Float[Tensor, "c 4"],
    positive: float = 0.5,
    negative: float = 0.4,
    crowd_coverage: float = 0.7,
) -> Match:
    """Give each anchor (centre form) the truth (corner form, classes from 0) that it overlaps most, or background.

    An anchor is positive at an IoU of at least `positive`, background below `negative`, neutral between. Each truth
    also gets one anchor of its own, the best pairs first. What is not positive and lies in a crowd box by more than
    `crowd_coverage` of its own area is neutral. Without truths every index is 0 and means nothing.
    Source: SSD section 2.2 and YOLACT section 4; the crowd rule is that of the released YOLACT.
    """
    corners = center_to_corner(anchors)
    labels = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    index = torch.zeros_like(labels)
    if len(truth):
        overlap: Tensor = box_iou(truth, corners)
        best, index = overlap.max(dim=0)
        owned, owner = _claims(overlap)
        index = index.index_copy(0, owned, owner)
        best = best.index_fill(0, owned, 2.0)  # beyond any IoU: positive whatever the threshold
        labels = labels.masked_fill(best >= negative, NEUTRAL)
        labels = torch.where(best >= positive, classes.long()[index] + 1, labels)
    if len(crowds):
        crowded = (coverage(corners, crowds) > crowd_coverage).any(dim=1)
        labels = labels.masked_fill(crowded & (labels <= BACKGROUND), NEUTRAL)
    return Match(labels, index)


def _claims(overlap: Float[Tensor, "m n"]) -> tuple[Integer[Tensor, " pairs"], Integer[Tensor, " pairs"]]:
    """Anchors and their truths, paired by repeatedly taking the best pair of which neither is taken yet."""
    truths, anchors = overlap.shape
    left = overlap.clone()
    taken: list[Tensor] = []
    for _ in range(min(truths, anchors)):
        pair = left.argmax().reshape(1)
        left.index_fill_(0, pair // anchors, -1.0).index_fill_(1, pair % anchors, -1.0)
        taken.append(pair)
    pairs = torch.cat(taken)
    return pairs % anchors, pairs // anchors
