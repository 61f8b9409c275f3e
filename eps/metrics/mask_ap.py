"""COCO's average precision of instances' masks and boxes, as pycocotools computes it."""

from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eps.ops.extents import extent
from eps.ops.rle import encode_rle

Kind = Literal["masks", "boxes"]


@dataclass(frozen=True, eq=False)
class PhotoInstances:
    """The instances of one photo: masks at photo size and classes from 0.

    Predictions have scores, truth has none. Crowds are regions of truth that count neither as found nor as missed.
    What is None is read off the masks: boxes (pixels, xyxy), the area of a truth, which decides whether it is small,
    medium or large; boxes are ranked by `box_scores`, or by the scores of masks.
    """

    masks: Bool[np.ndarray, "n h w"]
    classes: Integer[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"] | None
    crowd: Bool[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"] | None = None
    areas: Float[np.ndarray, " n"] | None = None
    box_scores: Float[np.ndarray, " n"] | None = None


class AveragePrecision(NamedTuple):
    """AP over IoU 0.5 to 0.95, at 0.5 and at 0.75; of small, medium and large instances; AP at 0.5 per class.

    Large are those of 96^2 pixels or more, medium of 32^2 or more. All is nan where there is no truth.
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    ap50_per_class: Float[np.ndarray, " c"]


class InstanceTally:
    """What AP needs of photos added one by one: run lengths, as whole masks of a split would fill the memory."""

    def __init__(self) -> None:
        self._images: list[dict[str, int]] = []
        self._true: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    @property
    def has_truth(self) -> bool:
        """Whether any photo has an instance to be found."""
        return bool(self._true)

    def add(self, truth: PhotoInstances, prediction: PhotoInstances) -> None:
        """Keep one photo's instances. Raises ValueError where the prediction lacks scores."""
        number = len(self._images) + 1
        if prediction.scores is None:
            raise ValueError(f"the predictions of photo {number} have no scores")
        height, width = truth.masks.shape[1:]
        self._images.append({"id": number, "height": height, "width": width})
        self._true += _annotations(truth, number, start=len(self._true) + 1)
        self._found += _annotations(prediction, number, start=len(self._found) + 1)

    def result(self, *, classes: int, of: Kind = "masks") -> AveragePrecision:
        """Average precision of masks or of boxes over the photos added."""
        found = self._found if of == "masks" else [_by_its_box(annotation) for annotation in self._found]
        precision = _precision(_coco(self._images, self._true, classes), _coco(self._images, found, classes), of=of)
        whole = precision[..., 0]
        return AveragePrecision(
            ap=_mean(whole),
            ap50=_mean(whole[0]),
            ap75=_mean(whole[5]),
            small=_mean(precision[..., 1]),
            medium=_mean(precision[..., 2]),
            large=_mean(precision[..., 3]),
            ap50_per_class=np.array([_mean(whole[0, :, index]) for index in range(classes)]),
        )


def mask_ap(
    truth: Iterable[PhotoInstances], predictions: Iterable[PhotoInstances], *, classes: int
) -> AveragePrecision:
    """Average precision in 0..1 of predicted masks, photo by photo in the same order.

    The best 100 of each photo and class count. Means are over the classes that have truth other than crowds; without
    any they are nan, and a class that is never predicted has 0. Raises ValueError where the two differ in length, or
    a prediction lacks scores.
    Source: COCO detection evaluation (Lin et al., ECCV 2014; pycocotools).
    """
    tally = InstanceTally()
    for expected, predicted in zip(truth, predictions, strict=True):
        tally.add(expected, predicted)
    return tally.result(classes=classes)


def _annotations(photo: PhotoInstances, image: int, *, start: int) -> list[dict[str, Any]]:
    """Describe a photo's instances in COCO's terms; ids count from 1, because pycocotools takes 0 for unmatched."""
    scores = np.zeros(len(photo.classes)) if photo.scores is None else photo.scores
    box_scores = scores if photo.box_scores is None else photo.box_scores
    boxes = np.array([extent(mask) for mask in photo.masks]) if photo.boxes is None else photo.boxes
    areas = photo.masks.sum(axis=(1, 2)) if photo.areas is None else photo.areas
    rows = zip(photo.masks, photo.classes, scores, box_scores, boxes, areas, photo.crowd, strict=True)
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": int(index),
            "segmentation": encode_rle(mask),
            "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
            "area": float(area),
            "iscrowd": int(crowd),
            "score": float(score),
            "box_score": float(box_score),
        }
        for number, (mask, index, score, box_score, box, area, crowd) in enumerate(rows, start=start)
    ]


def _by_its_box(annotation: dict[str, Any]) -> dict[str, Any]:
    """A prediction that is ranked as a box, and as large as that."""
    width, height = annotation["bbox"][2:]
    return {**annotation, "area": width * height, "score": annotation["box_score"]}


def _coco(images: list[dict[str, int]], annotations: list[dict[str, Any]], classes: int) -> Any:
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": i} for i in range(classes)]}
    with redirect_stdout(StringIO()):
        coco.createIndex()
    return coco


def _precision(truth: Any, predictions: Any, *, of: Kind) -> Float[np.ndarray, "iou recall c size"]:
    """Interpolated precision at 10 IoUs and 101 recalls, best 100; sizes all, small, medium, large.

    It is -1 for a class without truth.
    """
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(truth, predictions, iouType="segm" if of == "masks" else "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][..., -1], dtype=np.float64)


def _mean(precision: Float[np.ndarray, "*shape"]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")
