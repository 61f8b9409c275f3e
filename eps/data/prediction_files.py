"""Predictions as the servers of PASCAL VOC and COCO want them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from eps.data.class_names import COCO, COCO_CATEGORIES
from eps.ops.rle import encode_rle


def voc_folder(split: str) -> Path:
    """Where the test server looks for semantic masks `<id>.png` of a split (VOC 2012 development kit, section 5.3).

    Its competition 6 is for methods trained on any data but the test set's, as ours is: its backbone knows ImageNet.
    """
    return Path("results", "VOC2012", "Segmentation", f"comp6_{split}_cls")


def coco_category_ids(classes: Sequence[str]) -> list[int]:
    """The category id of each class: COCO's own where these are its 80 classes, else class index + 1."""
    if tuple(classes) == COCO:
        return list(COCO_CATEGORIES)
    return list(range(1, len(classes) + 1))


def coco_image_id(photo: str) -> int | str:
    """The number in the name of a photo of COCO's (`COCO_val2014_000000000042`, `000000000042`), else the id itself."""
    found = re.fullmatch(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})", Path(photo).name)
    return int(found[1]) if found else photo


def coco_results(
    image_id: int | str,
    boxes: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    classes: Integer[np.ndarray, " n"],
    masks: Bool[np.ndarray, "n H W"],
    *,
    category_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """One photo's instances in COCO's results format; boxes are xyxy in pixels, classes from 0."""
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[int(index)],
            "bbox": [round(float(side), 2) for side in (x0, y0, x1 - x0, y1 - y0)],
            "segmentation": encode_rle(mask),
            "score": round(float(score), 6),
        }
        for (x0, y0, x1, y1), score, index, mask in zip(boxes, scores, classes, masks, strict=True)
    ]
