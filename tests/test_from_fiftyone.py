"""`examples/from_fiftyone.py`, on stand-ins for FiftyOne's samples: they have the attributes that its datasets have."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

SIZE = (30, 47)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "examples" / "from_fiftyone.py"
    spec = spec_from_file_location("from_fiftyone", path)
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def detection(mask: np.ndarray, label: str, *, crowd: int = 0) -> SimpleNamespace:
    """As FiftyOne imports an object of COCO's: a relative box, and the mask within."""
    rows, columns = np.where(mask)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    height, width = mask.shape
    return SimpleNamespace(
        label=label,
        bounding_box=[left / width, top / height, (right - left) / width, (bottom - top) / height],
        get_mask=lambda: mask[top:bottom, left:right],
        get_attribute_value=lambda name, default: {"iscrowd": crowd}.get(name, default),
    )


class Sample(dict[str, Any]):
    def __init__(self, path: Path, *detections: SimpleNamespace) -> None:
        super().__init__(masks=SimpleNamespace(detections=list(detections)) if detections else None)
        self.filepath = str(path)


def told(*files: str) -> dict[str, Any]:
    images = [
        {"id": 7 + i, "file_name": name, "height": SIZE[0], "width": SIZE[1], "license": 3}
        for i, name in enumerate(files)
    ]
    return {"images": images, "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}], "annotations": [{}]}


def test_every_pixel_comes_back(example: ModuleType, tmp_path: Path) -> None:
    """Of masks with holes and parts, wherever they lie; uncertain ones stay uncertain, photos without any stay."""
    rng = np.random.default_rng(0)
    masks = [rng.random(SIZE) < share for share in (0.005, 0.02, 0.5, 1)]
    found = [detection(mask, ("cat", "dog")[i % 2], crowd=int(i == 3)) for i, mask in enumerate(masks)]
    samples = [Sample(tmp_path / "sub a" / "one.jpg", *found), Sample(tmp_path / "none.jpg")]
    made = example.annotations(samples, told("sub a/one.jpg", "gone.jpg", "none.jpg"), tmp_path)
    assert [image["file_name"] for image in made["images"]] == ["sub a/one.jpg", "none.jpg"]
    assert made["categories"] == told()["categories"]
    assert [(one["image_id"], one["category_id"], one["iscrowd"]) for one in made["annotations"]] == [
        (7, 1, 0), (7, 2, 0), (7, 1, 0), (7, 2, 1)
    ]  # fmt: skip
    for mask, one in zip(masks, made["annotations"], strict=True):
        assert np.array_equal(coco_mask.decode(one["segmentation"]).astype(bool), mask)
        assert one["area"] == mask.sum()


def test_a_box_that_was_pulled_and_one_over_the_edge(example: ModuleType) -> None:
    square = detection(np.pad(np.ones((4, 5), dtype=bool), ((6, 20), (8, 34))), "cat")
    square.bounding_box = [8 / 47, 6 / 30, 10 / 47, 12 / 30]
    assert example.whole(square, *SIZE).sum() == 10 * 12
    square.bounding_box = [42 / 47, -2 / 30, 10 / 47, 12 / 30]
    whole = example.whole(square, *SIZE)
    assert whole[:10, 42:].all()
    assert whole.sum() == 10 * 5


def test_a_box_without_a_mask_is_told(example: ModuleType) -> None:
    box = detection(np.ones(SIZE, dtype=bool), "cat")
    box.get_mask = lambda: None
    with pytest.raises(SystemExit, match=r"'cat' has a box alone: draw its mask"):
        example.whole(box, *SIZE)
