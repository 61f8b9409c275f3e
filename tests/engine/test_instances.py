"""The forms of what is found, each read back."""

import sys
from types import SimpleNamespace

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


def test_polygons(found: Instances) -> None:
    for outlines, mask in zip(found.to_polygons(), found.masks.numpy(), strict=True):
        rings = [outline.ravel().tolist() for outline in outlines]
        back = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, *mask.shape))).astype(bool)
        assert (back & mask).sum() / (back | mask).sum() > 0.97


def test_supervision(found: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not among ours: its constructor's arguments stand in for it."""
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="needs the package supervision: pip install supervision"):
        found.to_supervision()
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    made = found.to_supervision()
    np.testing.assert_array_equal(made.xyxy, found.boxes)
    np.testing.assert_array_equal(made.mask, found.masks)
    np.testing.assert_array_equal(made.confidence, found.scores)
    assert made.class_id.tolist() == [1, 0]
    assert made.data["class_name"].tolist() == ["boat", "train"]


def test_drawing(found: Instances) -> None:
    photo = Image.new("RGB", (40, 30), (0, 0, 0))
    drawn = np.asarray(found.draw(photo))
    assert drawn.shape == (30, 40, 3)
    assert (drawn != 0).any()
    assert not np.asarray(photo).any()  # a copy is drawn on
    np.testing.assert_array_equal(np.asarray(found.draw(np.asarray(photo))), drawn)
    with pytest.raises(ValueError, match="do not fit a photo"):
        found.draw(photo.resize((20, 30)))


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
