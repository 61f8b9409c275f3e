"""Predictions as the servers of PASCAL VOC and COCO want them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from eps.data.artifacts import read_json
from eps.data.class_names import COCO, COCO_CATEGORIES
from eps.data.files import id_of
from eps.errors import UserError
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


@dataclass(frozen=True, kw_only=True)
class CocoIds:
    """The ids of a results file in COCO's format: what a dataset's own json has, else what COCO's names say."""

    categories: Mapping[str, int] = field(default_factory=dict)
    """By class name."""
    images: Mapping[str, int | str] = field(default_factory=dict)
    """By photo."""

    @classmethod
    def read(cls, files: Sequence[Path]) -> "CocoIds":
        """Those of json files in COCO's format, of one kind. Raises `UserError` where one is not."""
        categories: dict[str, int] = {}
        images: dict[str, int | str] = {}
        for path in files:
            content = read_json(path)
            try:
                categories |= {str(category["name"]): int(category["id"]) for category in content["categories"]}
                images |= {id_of(str(image["file_name"])): image["id"] for image in content["images"]}
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise UserError(f"{path} does not hold instances in COCO's format: {error!r}") from error
        return cls(categories=categories, images=images)

    def category_ids(self, classes: Sequence[str]) -> list[int]:
        """Of each class; `coco_category_ids` where one of them is not known."""
        if all(name in self.categories for name in classes):
            return [self.categories[name] for name in classes]
        return coco_category_ids(classes)

    def image_id(self, photo: str) -> int | str:
        """Of a photo; `coco_image_id` where it is not known."""
        return self.images[photo] if photo in self.images else coco_image_id(photo)


def coco_results(
    image_id: int | str,
    boxes: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    classes: Integer[np.ndarray, " n"],
    masks: Bool[np.ndarray, "n H W"] | None,
    *,
    category_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """One photo's instances in COCO's results format, or their boxes alone; boxes are xyxy in pixels."""
    segmentations = [{}] * len(boxes) if masks is None else [{"segmentation": encode_rle(mask)} for mask in masks]
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[int(index)],
            "bbox": [round(float(side), 2) for side in (x0, y0, x1 - x0, y1 - y0)],
            **segmentation,
            "score": round(float(score), 6),
        }
        for (x0, y0, x1, y1), score, index, segmentation in zip(boxes, scores, classes, segmentations, strict=True)
    ]
