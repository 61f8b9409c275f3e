import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from eps.data.class_names import COCO, COCO_CATEGORIES
from eps.data.prediction_files import CocoIds, coco_category_ids, coco_image_id, coco_results, voc_folder
from eps.errors import UserError


def test_folder_of_the_voc_server() -> None:
    assert voc_folder("test").as_posix() == "results/VOC2012/Segmentation/comp6_test_cls"
    assert voc_folder("val").as_posix() == "results/VOC2012/Segmentation/comp6_val_cls"


def test_category_ids() -> None:
    assert coco_category_ids(COCO) == list(COCO_CATEGORIES)
    assert coco_category_ids(COCO)[-1] == 90
    assert coco_category_ids(["train", "person"]) == [1, 2]


@pytest.mark.parametrize(
    ("photo", "number"),
    [
        ("COCO_val2014_000000000042", 42),
        ("val2017/000000397133", 397133),
        ("2007_000033", "2007_000033"),
        ("000042", "000042"),
    ],
)
def test_image_ids(photo: str, number: int | str) -> None:
    assert coco_image_id(photo) == number


def test_ids_of_a_datasets_own_json(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    images = [{"file_name": "a/one.jpg", "id": 7, "height": 1, "width": 1}, {"file_name": "two.png", "id": 9}]
    categories = [{"id": 40, "name": "boat"}, {"id": 3, "name": "train"}]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": []}))
    ids = CocoIds.read([path])
    assert ids.category_ids(["train", "boat"]) == [3, 40]
    assert ids.category_ids(["train", "bus"]) == [1, 2]
    assert [ids.image_id(photo) for photo in ("a/one", "two", "000000000042", "three")] == [7, 9, 42, "three"]
    path.write_text(json.dumps({"images": [{"id": 1}], "categories": []}))
    with pytest.raises(UserError, match=r"mine\.json does not hold instances in COCO's format: KeyError"):
        CocoIds.read([path])


def test_results() -> None:
    masks = np.zeros((2, 5, 7), dtype=bool)
    masks[0, 1:3, 2:5] = True
    boxes = np.array([[2.0, 1, 5, 3], [0, 0, 7, 5]], dtype=np.float32)
    made = coco_results(
        "a", boxes, np.array([0.9, 0.25], dtype=np.float32), np.array([1, 0]), masks, category_ids=[1, 7]
    )
    assert [(one["image_id"], one["category_id"], one["score"]) for one in made] == [("a", 7, 0.9), ("a", 1, 0.25)]
    assert made[0]["bbox"] == [2, 1, 3, 2]
    assert made[1]["bbox"] == [0, 0, 7, 5]
    for one, mask in zip(made, masks, strict=True):
        np.testing.assert_array_equal(coco_mask.decode(one["segmentation"]), mask)


def test_nothing_found() -> None:
    nothing = np.zeros((0, 4), dtype=np.float32)
    assert coco_results("a", nothing, nothing[:, 0], np.zeros(0, int), np.zeros((0, 3, 3), bool), category_ids=[]) == []
