"""The forms of what is found, each read back."""

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from eps.data.class_names import COCO
from eps.engine.instances import Instances, no_instances
from eps.errors import UserError


@pytest.fixture
def found() -> Instances:
    masks = torch.zeros(2, 30, 40, dtype=torch.bool)
    masks[0, 5:25, 10:30] = True
    masks[1, 0:8, 0:12] = True
    return Instances(
        boxes=torch.tensor([[10.0, 5, 30, 25], [0, 0, 12, 8]]),
        scores=torch.tensor([0.9, 0.5]),
        classes=torch.tensor([1, 0]),
        masks=masks,
        mask_scores=torch.tensor([0.8, 0.25]),
        class_names=("train", "boat"),
    )


def test_names_and_unpacking(found: Instances) -> None:
    boxes, scores, classes, masks = found
    assert boxes is found.boxes
    assert scores is found.scores
    assert classes is found.classes
    assert masks is found.masks
    assert found.names == ("boat", "train")
    with pytest.raises(AttributeError):
        found.scores = scores  # type: ignore[misc]


def test_coco(found: Instances) -> None:
    entries = found.to_coco(7)
    assert [(entry["image_id"], entry["category_id"], entry["score"]) for entry in entries] == [
        (7, 2, 0.8),
        (7, 1, 0.25),
    ]
    assert entries[0]["bbox"] == [10, 5, 20, 20]
    for entry, mask in zip(entries, found.masks, strict=True):
        np.testing.assert_array_equal(coco_mask.decode(entry["segmentation"]), mask)
    person = Instances(**{**vars(found), "class_names": COCO, "classes": torch.tensor([0, 79])})
    assert [entry["category_id"] for entry in person.to_coco("a")] == [1, 90]


def test_boxes_alone_have_the_scores_of_boxes(found: Instances) -> None:
    """With masks' scores their AP, which COCO counts from such a file, would be another one."""
    whole, boxes = found.to_coco(7), found.to_coco(7, boxes_only=True)
    assert [entry["score"] for entry in boxes] == [0.9, 0.5]
    assert [entry["score"] for entry in whole] == [0.8, 0.25]
    assert [{**entry, "score": 0} for entry in boxes] == [
        {**{key: value for key, value in entry.items() if key != "segmentation"}, "score": 0} for entry in whole
    ]


def test_polygons(found: Instances) -> None:
    for outlines, mask in zip(found.to_polygons(), found.masks.numpy(), strict=True):
        rings = [outline.ravel().tolist() for outline in outlines]
        back = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, *mask.shape))).astype(bool)
        assert (back & mask).sum() / (back | mask).sum() > 0.97


def supervision() -> Any:
    """The package, which is not among ours; where it is not installed, its constructor's arguments stand in for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another project's
        try:
            return import_module("supervision")
        except ImportError:
            return SimpleNamespace(Detections=SimpleNamespace)


def test_supervision(found: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    package = supervision()
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="needs the package supervision: pip install supervision"):
        found.to_supervision()
    monkeypatch.setitem(sys.modules, "supervision", package)
    made = found.to_supervision()
    assert isinstance(made, package.Detections)
    np.testing.assert_array_equal(made.xyxy, found.boxes)
    np.testing.assert_array_equal(made.mask, found.masks)
    np.testing.assert_array_equal(made.confidence, found.scores)
    assert made.class_id.tolist() == [1, 0]
    assert made.data["class_name"].tolist() == ["boat", "train"]
    none = no_instances(size=(30, 40), device=torch.device("cpu"), class_names=("train",)).to_supervision()
    assert (none.xyxy.shape, none.mask.shape, none.data["class_name"].shape) == ((0, 4), (0, 30, 40), (0,))


@pytest.mark.skipif(find_spec("supervision") is None, reason="the package supervision is not installed")
def test_supervision_works_on_what_it_is_given(found: Instances) -> None:
    made = supervision()
    detections = found.to_supervision()
    assert len(detections) == 2
    assert detections.area.tolist() == [400, 96]
    assert detections[detections.confidence > 0.6]["class_name"].tolist() == ["boat"]
    photo = np.zeros((30, 40, 3), dtype=np.uint8)
    assert made.MaskAnnotator().annotate(photo.copy(), detections)[10, 15].any()
    assert made.BoxAnnotator().annotate(photo.copy(), detections).any()
    nothing = no_instances(size=(30, 40), device=torch.device("cpu"), class_names=("train",))
    assert nothing.to_supervision().is_empty()


def test_drawing(found: Instances) -> None:
    photo = Image.new("RGB", (40, 30), (0, 0, 0))
    drawn = np.asarray(found.draw(photo))
    assert drawn.shape == (30, 40, 3)
    assert (drawn != 0).any()
    assert not np.asarray(photo).any()  # a copy is drawn on
    np.testing.assert_array_equal(np.asarray(found.draw(np.asarray(photo))), drawn)
    with pytest.raises(ValueError, match="do not fit a photo"):
        found.draw(photo.resize((20, 30)))


def test_the_score_that_is_drawn_is_the_one_that_thresholds_go_by(
    found: Instances, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    draw = "eps.engine.instances.draw_instances"
    monkeypatch.setattr(draw, lambda photo, **rest: drawn.extend(rest["labels"]) or photo)
    found.draw(Image.new("RGB", (40, 30)))
    assert drawn == ["boat 0.90", "train 0.50"]


def test_nothing_found() -> None:
    none = no_instances(size=(30, 40), device=torch.device("cpu"), class_names=("train",))
    assert none.names == ()
    assert none.to_coco(1) == none.to_polygons() == []
    photo = Image.new("RGB", (40, 30), (9, 9, 9))
    assert none.draw(photo).tobytes() == photo.tobytes()


def test_without_names_numbers(found: Instances) -> None:
    bare = Instances(**{**vars(found), "class_names": ()})
    assert bare.names == ("1", "0")
    assert [entry["category_id"] for entry in bare.to_coco(1)] == [2, 1]
