"""How well localization maps agree with saliency maps and tags: scores that need no truth."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from eps.ops.pseudo_labels import IGNORE, best_threshold, threshold_agreement

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


class Agreement(NamedTuple):
    """Pixels in both and in either of {best score > t} and {saliency > 0.5}, for each t of `THRESHOLDS`."""

    intersection: Integer[Tensor, " t"]
    union: Integer[Tensor, " t"]

    @property
    def iou(self) -> list[float]:
        return (self.intersection / self.union.clamp(min=1)).tolist()

    def threshold(self) -> float:
        """The one that agrees best. Raises `UserError` where no map meets any saliency map."""
        return round(best_threshold(self.intersection, self.union, torch.tensor(THRESHOLDS)), 2)


def agreement(photos: Iterable[tuple[Float[Tensor, "_ _ _"], Float[Tensor, "_ _"]]]) -> Agreement:
    """Agreement over photos of (scores (c, H, W), saliency (H, W)), both in 0..1."""
    thresholds = torch.tensor(THRESHOLDS)
    intersection = torch.zeros(len(THRESHOLDS), dtype=torch.long)
    union = torch.zeros_like(intersection)
    for scores, saliency in photos:
        shared, either = threshold_agreement(scores, saliency, thresholds)
        intersection += shared
        union += either
    return Agreement(intersection, union)


def disagreement(labels: UInt8[np.ndarray, "h w"], saliency: Float[np.ndarray, "h w"]) -> float:
    """1 - IoU of a label map's foreground and {saliency > 0.5}, in 0..1; 0 where both are empty.

    `labels` are class + 1, 0 background, 255 ignore: ignored pixels do not count. Saliency is in 0..1.
    """
    judged = labels != IGNORE
    foreground, salient = (labels > 0) & judged, (saliency > 0.5) & judged
    either = np.count_nonzero(foreground | salient)
    return 1 - np.count_nonzero(foreground & salient) / either if either else 0.0


class LabelTally:
    """Counts over label maps as they are made: pixels, instances, agreement with saliency and with tags."""

    def __init__(self) -> None:
        self.pixels = self.ignored = self.foreground = self.instances = self.uncertain = self.photos = 0
        self.shared = self.either = self.tags = self.tags_found = self.classes_found = 0

    def add(
        self,
        labels: UInt8[Tensor, "H W"],
        saliency: Float[Tensor, "H W"] | None,
        tags: Bool[Tensor, " c"],
        *,
        instances: int,
        uncertain: int,
    ) -> None:
        """Count one photo; of its instances so many are uncertain."""
        foreground = (labels > 0) & (labels != IGNORE)
        self.photos += 1
        self.pixels += labels.numel()
        self.ignored += int((labels == IGNORE).sum())
        self.foreground += int(foreground.sum())
        self.instances += instances
        self.uncertain += uncertain
        if saliency is not None:
            self.shared += int((foreground & (saliency > 0.5)).sum())
            self.either += int((foreground | (saliency > 0.5)).sum())
        self.tags += int(tags.sum())
        found = {label - 1 for label in set(labels[foreground].flatten().tolist())}
        self.classes_found += len(found)
        self.tags_found += len(found & set(tags.nonzero().flatten().tolist()))

    def score(self) -> float:
        """F1 of the classes that have pixels against the tags, times the foreground's IoU with saliency, if any."""
        found = 2 * self.tags_found / max(1, self.tags + self.classes_found)
        return found * self.shared / self.either if self.either else found

    def counts(self) -> dict[str, int]:
        """What a manifest says of the labels."""
        return dict(vars(self))
