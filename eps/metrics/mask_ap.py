"""COCO's average precision of instance masks, as pycocotools computes it."""

from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eps.ops.rle import encode_rle


@dataclass(frozen=True, eq=False)
class PhotoInstances:
    """The instances of one photo: masks at photo size and classes from 0.

    Predictions have scores, truth has none. Crowds are regions of truth that count neither as found nor as missed.
    """

    masks: Bool[np.ndarray, "n h w"]
    classes: Integer[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"] | None
    crowd: Bool[np.ndarray, " n"]


class MaskAP(NamedTuple):
    """AP over IoU 0.5 to 0.95, at 0.5 and at 0.75, and AP at 0.5 per class; nan where there is no truth."""

    ap: float
    ap50: float
    ap75: float
    ap50_per_class: Float[np.ndarray, " c"]


def mask_ap(truth: Iterable[PhotoInstances], predictions: Iterable[PhotoInstances], *, classes: int) -> MaskAP:
    """Average precision in 0..1 of predicted masks, photo by photo in the same order.

    The best 100 of each photo and class count. Means are over the classes that have truth other than crowds; without
    any they are nan, and a class that is never predicted has 0. Raises ValueError where the two differ in length, or
    a prediction lacks scores.
    Source: COCO detection evaluation, all object sizes (Lin et al., ECCV 2014; pycocotools).
    """
    images: list[dict[str, int]] = []
    true: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, (expected, predicted) in enumerate(zip(truth, predictions, strict=True), start=1):
        if predicted.scores is None:
            raise ValueError(f"the predictions of photo {number} have no scores")
        height, width = expected.masks.shape[1:]
        images.append({"id": number, "height": height, "width": width})
        true += _annotations(expected, number, start=len(true) + 1)
        found += _annotations(predicted, number, start=len(found) + 1)
    precision = _precision(_coco(images, true, classes), _coco(images, found, classes))
    return MaskAP(
        ap=_mean(precision),
        ap50=_mean(precision[0]),
        ap75=_mean(precision[5]),
        ap50_per_class=np.array([_mean(precision[0, :, index]) for index in range(classes)]),
    )


def _annotations(photo: PhotoInstances, image: int, *, start: int) -> list[dict[str, Any]]:
    """Describe a photo's instances in COCO's terms; ids count from 1, because pycocotools takes 0 for unmatched."""
    scores = np.zeros(len(photo.classes)) if photo.scores is None else photo.scores
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": int(index),
            "segmentation": encode_rle(mask),
            "area": int(np.count_nonzero(mask)),
            "iscrowd": int(crowd),
            "score": float(score),
        }
        for number, (mask, index, score, crowd) in enumerate(
            zip(photo.masks, photo.classes, scores, photo.crowd, strict=True), start=start
        )
    ]


def _coco(images: list[dict[str, int]], annotations: list[dict[str, Any]], classes: int) -> Any:
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": i} for i in range(classes)]}
    with redirect_stdout(StringIO()):
        coco.createIndex()
    return coco


def _precision(truth: Any, predictions: Any) -> Float[np.ndarray, "iou recall c"]:
    """Interpolated precision at 10 IoUs and 101 recalls, all sizes, best 100; -1 for a class without truth."""
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(truth, predictions, iouType="segm")
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][:, :, :, 0, -1], dtype=np.float64)


def _mean(precision: Float[np.ndarray, "*shape"]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")
