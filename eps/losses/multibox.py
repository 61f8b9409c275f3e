"""YOLACT's training loss: what the segmenter's predictions cost against the truth of a batch."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from eps.losses.boxes import box_loss, confidence_loss
from eps.losses.masks import mask_iou_loss, mask_loss, semantic_bce
from eps.ops.boxes import center_to_corner, encode
from eps.ops.masks import masked_share
from eps.ops.matching import BACKGROUND, NEUTRAL, Match, match


class Targets(NamedTuple):
    """The truth of one image: boxes in corner form, relative; classes from 0; which instances are crowds (neutral).

    Pixels under `ignore` count in no loss: in no mask, nor may an anchor that lies on them be taken for background.
    """

    boxes: Float[Tensor, "m 4"]
    classes: Integer[Tensor, " m"]
    masks: Bool[Tensor, "m height width"]
    crowd: Bool[Tensor, " m"]
    ignore: Bool[Tensor, "height width"] | None = None


class MultiboxLoss(NamedTuple):
    """YOLACT's terms B, C, M and S, and YOLACT++'s I, weighted and normalised: their sum is the loss."""

    box: Float[Tensor, ""]
    classification: Float[Tensor, ""]
    mask: Float[Tensor, ""]
    semantic: Float[Tensor, ""]
    mask_iou: Float[Tensor, ""]


def multibox_loss(
    offsets: Float[Tensor, "b n 4"],
    logits: Float[Tensor, "b n classes"],
    coefficients: Float[Tensor, "b n k"],
    prototypes: Float[Tensor, "b k h w"],
    anchors: Float[Tensor, "n 4"],
    targets: Sequence[Targets],
    *,
    semantic: Float[Tensor, "b foreground hs ws"] | None = None,
    mask_scorer: Callable[[Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
    positive: float = 0.5,
    negative: float = 0.4,
    crowd_coverage: float = 0.7,
    negatives_per_positive: int = 3,
    masks_per_image: int = 100,
    min_mask_side: float = 0.0,
    variances: tuple[float, float] = (0.1, 0.2),
    box_weight: float = 1.5,
    classification_weight: float = 1.0,
    mask_weight: float = 6.125,
    semantic_weight: float = 1.0,
    mask_iou_weight: float = 25.0,
    count: Float[Tensor, ""] | None = None,
) -> MultiboxLoss:
    """YOLACT's loss of a batch, one Targets an image: B, C, M and I per positive anchor of the batch, S per image.

    Anchors are in centre form, logits have the background first. `semantic`, which has no background, and
    `mask_scorer`, YOLACT++'s mask-IoU net, may be left out: their terms are then zero. Crowds only make anchors
    neutral. A batch without positives has zero B, C, M and I, with a gradient of zeros. The generator chooses which
    positives' masks count where an image has too many, in each image whatever the others are. For M, boxes
    narrower or lower than `min_mask_side` prototype pixels count as that (0: as they are). `count` replaces the number
    of positives that B, C, M and I are divided by, for a batch that is part of a larger one.
    Source: YOLACT sections 3.2 and 3.4; YOLACT++ section 6.1.
    """
    truths, crowds = _sorted_out(targets)
    thresholds = (positive, negative, crowd_coverage)
    matches = [_matched(truth, own, anchors, *thresholds) for truth, own in zip(truths, crowds, strict=True)]
    classes = torch.stack([found.classes for found in matches])
    photo, anchor = (classes > 0).nonzero(as_tuple=True)
    chosen = torch.split(anchor, (classes > 0).sum(dim=1).tolist())
    count = torch.tensor(max(len(anchor), 1), device=classes.device) if count is None else count
    rows = [found.index[own] for found, own in zip(matches, chosen, strict=True)]
    encoded = [
        encode(truth.boxes[row], anchors[own], variances=variances)
        for truth, row, own in zip(truths, rows, chosen, strict=True)
    ]
    drawn = [
        (prototypes[i], coefficients[i, chosen[i]], rows[i], truth.boxes, truth.masks) for i, truth in enumerate(truths)
    ]
    mask_cost = partial(mask_loss, limit=masks_per_image, min_side=min_mask_side)
    confidence = confidence_loss(logits, classes, negatives_per_positive=negatives_per_positive)
    mask_iou = zero = offsets.new_zeros(())
    if mask_scorer is not None:
        rated = [(*own, truth.classes) for own, truth in zip(drawn, truths, strict=True)]
        rating_cost = partial(mask_iou_loss, scorer=mask_scorer, limit=masks_per_image)
        mask_iou = _summed(rating_cost, rated, truths, generator) * mask_iou_weight / count
    return MultiboxLoss(
        box=box_loss(offsets[photo, anchor], torch.cat(encoded)) * box_weight / count,
        classification=confidence * classification_weight / count,
        mask=_summed(mask_cost, drawn, truths, generator) * mask_weight / count,
        semantic=zero if semantic is None else _semantic(semantic, truths) * semantic_weight,
        mask_iou=mask_iou,
    )


def count_positives(
    anchors: Float[Tensor, "n 4"],
    targets: Sequence[Targets],
    *,
    positive: float = 0.5,
    negative: float = 0.4,
    crowd_coverage: float = 0.7,
) -> Integer[Tensor, ""]:
    """How many anchors of a batch are positive: what `multibox_loss` divides by, from 1 on. Arguments as there."""
    thresholds = (positive, negative, crowd_coverage)
    pairs = zip(*_sorted_out(targets), strict=True)
    matches = [_matched(truth, crowds, anchors, *thresholds) for truth, crowds in pairs]
    return torch.stack([(found.classes > 0).sum() for found in matches]).sum()


def _sorted_out(targets: Sequence[Targets]) -> tuple[list[Targets], list[Float[Tensor, "c 4"]]]:
    """Of each image its truth without crowds, and without `ignore` where it is empty; and the boxes of its crowds.

    A GPU is waited for once: what is chosen by a mask there would be a wait for each.
    """
    ignored = [target.crowd.new_zeros(()) if target.ignore is None else target.ignore.any() for target in targets]
    told = torch.cat([torch.stack(ignored), *(target.crowd for target in targets)]).cpu()
    ignores, *flagged = (part.tolist() for part in torch.split(told, [len(targets), *(len(t.crowd) for t in targets)]))
    truths, crowds = [], []
    for target, some_ignored, flags in zip(targets, ignores, flagged, strict=True):
        rows = [[row for row, flag in enumerate(flags) if flag is kind] for kind in (False, True)]
        single, group = (torch.tensor(some, dtype=torch.long, device=target.boxes.device) for some in rows)
        crowds.append(target.boxes[group])
        truths.append(
            Targets(
                boxes=target.boxes[single],
                classes=target.classes[single],
                masks=target.masks[single],
                crowd=target.crowd[single],
                ignore=target.ignore if some_ignored else None,
            )
        )
    return truths, crowds


def _matched(
    truth: Targets,
    crowds: Float[Tensor, "c 4"],
    anchors: Float[Tensor, "n 4"],
    positive: float,
    negative: float,
    crowd_coverage: float,
) -> Match:
    """What each anchor of an image is to learn."""
    found = match(
        truth.boxes,
        truth.classes,
        anchors,
        crowds=crowds,
        positive=positive,
        negative=negative,
        crowd_coverage=crowd_coverage,
    )
    return Match(_without_ignored(found.classes, anchors, truth.ignore, crowd_coverage), found.index)


def _summed(
    cost: Callable[..., Tensor],
    drawn: Sequence[tuple[Tensor, ...]],
    truths: Sequence[Targets],
    generator: torch.Generator | None,
) -> Float[Tensor, ""]:
    """A mask term of each image, added up; each draws from the same state, whoever else is in the batch."""
    costs = [
        cost(*own, ignore=truth.ignore, generator=None if generator is None else generator.clone_state())
        for own, truth in zip(drawn, truths, strict=True)
    ]
    return torch.stack(costs).sum()


def _without_ignored(
    classes: Integer[Tensor, " n"], anchors: Float[Tensor, "n 4"], ignore: Bool[Tensor, "h w"] | None, coverage: float
) -> Integer[Tensor, " n"]:
    """Background anchors of which more than `coverage` is ignored become neutral, as those in crowds do."""
    if ignore is None:
        return classes
    unknown = masked_share(center_to_corner(anchors), ignore) > coverage
    return classes.masked_fill(unknown & (classes == BACKGROUND), NEUTRAL)


def _semantic(logits: Float[Tensor, "b c h w"], truths: Sequence[Targets]) -> Float[Tensor, ""]:
    """The semantic term, averaged over the batch."""
    costs = [
        semantic_bce(image, truth.masks, truth.classes, ignore=truth.ignore)
        for image, truth in zip(logits, truths, strict=True)
    ]
    return torch.stack(costs).mean()
