"""All scores of one split, gathered photo by photo."""

from collections.abc import Sequence
from operator import add
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from eps.metrics.boundary import BoundaryCounts, boundary_counts, boundary_scores
from eps.metrics.confusion import confusion_ratio, context_confusion, leakage, leakage_counts
from eps.metrics.mask_ap import AveragePrecision, InstanceTally, PhotoInstances
from eps.metrics.miou import confusion_matrix, segmentation_scores
from eps.metrics.tag_ap import average_precision

BACKGROUND = "background"


class Scorecard:
    """IoU, precision, recall, boundaries, confusion, leakage, mask and box AP over photos; percentages but ratios.

    Boundaries are scored where there is a `boundary_tolerance` in pixels. `pairs` are (target, coincident) names whose
    confusion ratio is reported by itself; `background` is a name too. Raises ValueError for another name.
    """

    def __init__(
        self,
        *,
        classes: Sequence[str],
        boundary_tolerance: float | None = None,
        pairs: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.classes = tuple(classes)
        self.names = (BACKGROUND, *self.classes)
        self.boundary_tolerance = boundary_tolerance
        self.boundary = BoundaryCounts(0, 0, 0, 0)
        self.pairs = [self._indices(*pair) for pair in pairs]
        count = len(self.classes)
        self.matrix = np.zeros((count + 1, count + 2), dtype=np.int64)
        self.leaked = np.zeros(count, dtype=np.int64)
        self.context = np.zeros(count, dtype=np.int64)
        self.instances = InstanceTally()
        self.tag_scores: list[np.ndarray] = []
        self.tags: list[np.ndarray] = []

    def add_labels(
        self,
        prediction: UInt8[np.ndarray, "H W"],
        truth: UInt8[np.ndarray, "H W"],
        context: UInt8[np.ndarray, "H W"] | None,
    ) -> float:
        """Count one photo's label map; its own mean IoU, in percent, over the names that it or its truth has."""
        matrix = confusion_matrix(prediction, truth, classes=len(self.classes))
        self.matrix += matrix
        if self.boundary_tolerance is not None:
            added = boundary_counts(prediction, truth, tolerance=self.boundary_tolerance)
            self.boundary = BoundaryCounts(*map(add, self.boundary, added))
        if context is not None:
            counts = leakage_counts(prediction, context, classes=len(self.classes))
            self.leaked += counts.leaked
            self.context += counts.total
        return 100 * segmentation_scores(matrix).miou

    def add_instances(self, prediction: PhotoInstances, truth: PhotoInstances) -> None:
        """Keep one photo's instances."""
        self.instances.add(truth, prediction)

    def add_tags(self, scores: Float[np.ndarray, " c"], truth: UInt8[np.ndarray, "H W"]) -> None:
        """Keep how sure each class was said to be in one photo, and whether it truly is."""
        self.tag_scores.append(scores)
        self.tags.append(np.isin(np.arange(1, len(self.classes) + 1), truth))

    def miou(self) -> float:
        """Mean IoU over background and classes, in percent."""
        return 100 * segmentation_scores(self.matrix).miou

    def summary(self) -> dict[str, Any]:
        """Everything, as JSON can hold it; what a split does not know is None."""
        scores = segmentation_scores(self.matrix)
        content: dict[str, Any] = {
            "miou": 100 * scores.miou,
            "fw_iou": 100 * scores.fw_iou,
            "pixel_accuracy": 100 * scores.pixel_accuracy,
            "ignored": 100 * scores.ignored,
            "per_class": _named(self.names, 100 * scores.iou),
            "precision": _named(self.names, 100 * scores.precision),
            "recall": _named(self.names, 100 * scores.recall),
            "confusion_matrix": self.matrix.tolist(),
            "confusion_ratio": self._confusion_ratios(),
            "pairs": [self._pair(target, coincident) for target, coincident in self.pairs],
            "boundary": self._boundary(),
            "leakage": None,
            "instances": self._instances(),
            "tags": self._tags(),
        }
        if self.context.any():
            found = leakage(self.leaked, self.context)
            hits = np.diagonal(self.matrix)[1:]
            content["leakage"] = {
                "mean": found.mean,
                "per_class": _named(self.classes, found.per_class),
                "confusion_ratio": _named(self.classes, context_confusion(self.leaked, hits)),
            }
        return content

    def _instances(self) -> dict[str, Any] | None:
        if not self.instances.has_truth:
            return None
        masks, boxes = (self.instances.result(classes=len(self.classes), of=of) for of in ("masks", "boxes"))
        return {**self._percent(masks), "boxes": self._percent(boxes)}

    def _tags(self) -> dict[str, Any] | None:
        if not self.tags:
            return None
        scores, shown = np.stack(self.tag_scores), np.stack(self.tags)
        found = 100 * np.array([average_precision(scores[:, c], shown[:, c]) for c in range(len(self.classes))])
        mean = float(np.nanmean(found)) if shown.any() else None
        return {"map": mean, "ap_per_class": _named(self.classes, found)}

    def _percent(self, found: AveragePrecision) -> dict[str, Any]:
        """Percentages; None for a size that no true instance has."""
        names = {"ap": found.ap, "ap50": found.ap50, "ap75": found.ap75}
        sizes = {"ap_small": found.small, "ap_medium": found.medium, "ap_large": found.large}
        return {
            **_named([*names, *sizes], 100 * np.array([*names.values(), *sizes.values()])),
            "ap50_per_class": _named(self.classes, 100 * found.ap50_per_class),
        }

    def _boundary(self) -> dict[str, float | None] | None:
        if self.boundary_tolerance is None:
            return None
        found = boundary_scores(self.boundary)
        percent = _named(found._fields, 100 * np.array(found))
        return {**percent, "tolerance": self.boundary_tolerance}

    def _indices(self, target: str, coincident: str) -> tuple[int, int]:
        for name in (target, coincident):
            if name not in self.names:
                raise ValueError(f"no class {name!r}; there are {', '.join(self.names)}")
        return self.names.index(target), self.names.index(coincident)

    def _pair(self, target: int, coincident: int) -> dict[str, Any]:
        """One m_kc with the two counts it is made of: no ratio where the target is never found."""
        ratio = confusion_ratio(self.matrix, target=target, coincident=coincident)
        return {
            "target": self.names[target],
            "coincident": self.names[coincident],
            "false_positive": int(self.matrix[coincident, target]),
            "true_positive": int(self.matrix[target, target]),
            "confusion_ratio": ratio if np.isfinite(ratio) else None,
        }

    def _confusion_ratios(self) -> dict[str, dict[str, float | None]]:
        """m_kc for every pair: pixels of the inner name that are taken for the outer one, per pixel of it found."""
        names, indices = self.names, range(len(self.names))
        ratios = [[confusion_ratio(self.matrix, target=c, coincident=k) for k in indices if k != c] for c in indices]
        others = [[name for k, name in enumerate(names) if k != c] for c in indices]
        return {names[c]: _named(others[c], np.array(ratios[c])) for c in indices}


def _named(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    """By name; None where there was nothing to judge."""
    return {name: float(v) if np.isfinite(v) else None for name, v in zip(names, values, strict=True)}
