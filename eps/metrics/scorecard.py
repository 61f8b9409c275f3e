"""All scores of one split, gathered photo by photo."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from eps.metrics.confusion import confusion_ratio, context_confusion, leakage, leakage_counts
from eps.metrics.mask_ap import PhotoInstances, mask_ap
from eps.metrics.miou import confusion_matrix, segmentation_scores


class Scorecard:
    """mIoU, precision, recall, context leakage and mask AP over the photos added; percentages but for ratios."""

    def __init__(self, *, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        count = len(self.classes)
        self.matrix = np.zeros((count + 1, count + 2), dtype=np.int64)
        self.leaked = np.zeros(count, dtype=np.int64)
        self.context = np.zeros(count, dtype=np.int64)
        self.truths: list[PhotoInstances] = []
        self.predictions: list[PhotoInstances] = []

    def add_labels(
        self,
        prediction: UInt8[np.ndarray, "H W"],
        truth: UInt8[np.ndarray, "H W"],
        context: UInt8[np.ndarray, "H W"] | None,
    ) -> None:
        """Count one photo's label map."""
        self.matrix += confusion_matrix(prediction, truth, classes=len(self.classes))
        if context is not None:
            counts = leakage_counts(prediction, context, classes=len(self.classes))
            self.leaked += counts.leaked
            self.context += counts.total

    def add_instances(self, prediction: PhotoInstances, truth: PhotoInstances) -> None:
        """Keep one photo's instances."""
        self.predictions.append(prediction)
        self.truths.append(truth)

    def miou(self) -> float:
        """Mean IoU over background and classes, in percent."""
        return 100 * float(segmentation_scores(self.matrix).miou)

    def summary(self) -> dict[str, Any]:
        """Everything, as JSON can hold it; what a split does not know is None."""
        scores = segmentation_scores(self.matrix)
        names = ("background", *self.classes)
        content: dict[str, Any] = {
            "miou": self.miou(),
            "pixel_accuracy": 100 * float(scores.pixel_accuracy),
            "ignored": 100 * float(scores.ignored),
            "per_class": _named(names, 100 * np.asarray(scores.iou)),
            "precision": _named(names, 100 * np.asarray(scores.precision)),
            "recall": _named(names, 100 * np.asarray(scores.recall)),
            "confusion_matrix": self.matrix.tolist(),
            "confusion_ratio": self._confusion_ratios(names),
            "leakage": None,
            "instances": self._instances(),
        }
        if self.context.any():
            found = leakage(self.leaked, self.context)
            hits = np.diagonal(self.matrix)[1:]
            content["leakage"] = {
                "mean": float(found.mean),
                "per_class": _named(self.classes, np.asarray(found.per_class)),
                "confusion_ratio": _named(self.classes, np.asarray(context_confusion(self.leaked, hits))),
            }
        return content

    def _instances(self) -> dict[str, Any] | None:
        if not any(len(photo.classes) for photo in self.truths):
            return None
        ap = mask_ap(self.truths, self.predictions, classes=len(self.classes))
        return {
            "ap": 100 * ap.ap,
            "ap50": 100 * ap.ap50,
            "ap75": 100 * ap.ap75,
            "ap50_per_class": _named(self.classes, 100 * np.asarray(ap.ap50_per_class)),
        }

    def _confusion_ratios(self, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
        """m_kc for every pair: pixels of the inner name that are taken for the outer one, per pixel of it found."""
        indices = range(len(names))
        ratios = [[confusion_ratio(self.matrix, target=c, coincident=k) for k in indices if k != c] for c in indices]
        others = [[name for k, name in enumerate(names) if k != c] for c in indices]
        return {names[c]: _named(others[c], np.array(ratios[c])) for c in indices}


def _named(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    """By name; None where there was nothing to judge."""
    return {name: float(v) if np.isfinite(v) else None for name, v in zip(names, values, strict=True)}
