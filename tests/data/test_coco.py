"""Tags and truth out of COCO's json files: masks against a numpy reference."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eps.data.artifacts import write_json
from eps.data.coco import coco_form
from eps.data.coco_truth import CocoTruth
from eps.data.layout import DatasetFolder
from eps.data.listing import Places
from eps.errors import UserError
from eps.ops.rle import encode_rle

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "hair drier"}]
HEIGHT, WIDTH = 10, 12


def rectangle(x1: int, y1: int, x2: int, y2: int) -> list[list[float]]:
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def region(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run lengths: down the columns, beginning with what is not in the mask."""
    counts, value, count = [], False, 0
    for pixel in mask.ravel(order="F"):
        if pixel != value:
            counts.append(count)
            value, count = pixel, 0
        count += 1
    return {"size": list(mask.shape), "counts": [*counts, count]}


def annotation(image: int, category: int, segmentation: Any, **facts: Any) -> dict[str, Any]:
    return {"id": 7, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **facts}


def write(root: Path, year: int, **splits: tuple[list[str], list[dict[str, Any]]]) -> None:
    """Photos are numbered from 1 in each split."""
    for split, (files, annotations) in splits.items():
        (root / f"{split}{year}").mkdir(exist_ok=True)
        for file in files:
            Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"{split}{year}" / file)
        images = [
            {"id": i, "file_name": file, "height": HEIGHT, "width": WIDTH} for i, file in enumerate(files, start=1)
        ]
        content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        write_json(root / "annotations" / f"instances_{split}{year}.json", content)


BOTH = [
    annotation(1, 1, rectangle(2, 2, 5, 5)),
    annotation(1, 18, rectangle(0, 0, 10, 8)),
    annotation(1, 1, run_lengths(region(4, 4, 12, 10)), iscrowd=1),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path,
        2014,
        train=(["COCO_train2014_000000000009.jpg", "COCO_train2014_000000000025.jpg"], BOTH),
        val=(["COCO_val2014_000000000042.jpg"], [annotation(1, 90, encode_rle(region(1, 1, 3, 9)))]),
    )
    return tmp_path


FIRST, SECOND, THIRD = "COCO_train2014_000000000009", "COCO_train2014_000000000025", "COCO_val2014_000000000042"


def opened(root: Path, year: int = 2014) -> DatasetFolder:
    form = coco_form(root, Places(tags="annotations"), year=year)
    return DatasetFolder.of(form, form.read())


def truth_of(root: Path) -> CocoTruth:
    return CocoTruth(tuple(root / f"annotations/instances_{split}2014.json" for split in ("train", "val")))


def test_what_it_holds(root: Path) -> None:
    folder = opened(root)
    assert folder.classes == ("dog", "person", "hair drier")  # in the order of the file, not of the ids
    assert folder.ids("train") == [FIRST, SECOND]
    assert folder.ids("val") == [THIRD]
    assert folder.labels == {FIRST: ("dog", "person"), SECOND: (), THIRD: ("hair drier",)}
    assert folder.photo(THIRD).size == (WIDTH, HEIGHT)
    with pytest.raises(
        UserError, match=r"split 'test': .*annotations/instances_test2014\.json is missing; there are train, val"
    ):
        folder.ids("test")


def test_a_crowd_is_a_tag(tmp_path: Path) -> None:
    write(tmp_path, 2017, train=(["000000000009.jpg"], [annotation(1, 1, run_lengths(region(0, 0, 2, 2)), iscrowd=1)]))
    folder = opened(tmp_path, 2017)
    assert folder.labels == {"000000000009": ("person",)}
    assert folder.photo_path("000000000009") == tmp_path / "train2017/000000000009.jpg"
    assert not folder.has_split("val")


def test_semantic_map(root: Path) -> None:
    """The crowd beneath, then from the largest to the smallest."""
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[4:10, 4:12] = 2
    expected[0:8, 0:10] = 1
    expected[2:5, 2:5] = 2
    np.testing.assert_array_equal(truth_of(root).semantic(FIRST), expected)


def test_instances(root: Path) -> None:
    found = truth_of(root)(FIRST)
    assert found.classes.tolist() == [1, 0, 1]
    assert found.uncertain.tolist() == [True, False, False]
    for mask, expected in zip(found.masks, [(4, 4, 12, 10), (0, 0, 10, 8), (2, 2, 5, 5)], strict=True):
        np.testing.assert_array_equal(mask, region(*expected))


def test_compressed_run_lengths(root: Path) -> None:
    np.testing.assert_array_equal(truth_of(root)(THIRD).masks, [region(1, 1, 3, 9)])


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_of_any_mask(tmp_path: Path, seed: int) -> None:
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < (0.5, 0.1, 0.9, 0, 1)[seed]
    both = [annotation(1, 1, encode_rle(mask)), annotation(1, 1, run_lengths(mask))]
    write(tmp_path, 2014, train=(["a.jpg"], both), val=(["b.jpg"], []))
    np.testing.assert_array_equal(
        truth_of(tmp_path)("a").masks, [mask] * 2 if mask.any() else np.zeros((0, HEIGHT, WIDTH))
    )


def test_polygons_of_one_object_are_joined(tmp_path: Path) -> None:
    parts = rectangle(0, 0, 2, 2) + rectangle(5, 5, 9, 7)
    write(tmp_path, 2014, train=(["a.jpg"], [annotation(1, 1, parts)]), val=(["b.jpg"], []))
    np.testing.assert_array_equal(truth_of(tmp_path)("a").masks, [region(0, 0, 2, 2) | region(5, 5, 9, 7)])


def test_photo_without_annotations(root: Path) -> None:
    found = truth_of(root)(SECOND)
    assert found.masks.shape == (0, HEIGHT, WIDTH)
    assert not found.semantic.any()


def test_objects_without_a_pixel_are_none(tmp_path: Path) -> None:
    nothing = [annotation(1, 1, []), annotation(1, 1, run_lengths(region(0, 0, 0, 0)))]
    write(tmp_path, 2014, train=(["a.jpg"], nothing), val=(["b.jpg"], []))
    assert truth_of(tmp_path)("a").classes.tolist() == []


@pytest.mark.parametrize("facts", [{}, {"segmentation": []}, {"segmentation": None}])
def test_a_box_without_an_outline(tmp_path: Path, facts: dict[str, Any]) -> None:
    """It is uncertain: its pixels, whole ones, are ignored but for what other objects' masks say of them."""
    box = {key: value for key, value in annotation(1, 18, []).items() if key != "segmentation"}
    box |= {"bbox": [2.5, 1, 4, 3.2], "area": 12} | facts
    cat = annotation(1, 1, rectangle(5, 3, 9, 6), bbox=[5, 3, 4, 3], area=12)
    write(tmp_path, 2014, train=(["a.jpg"], [box, cat]), val=(["b.jpg"], [box]))
    found = truth_of(tmp_path)("a")
    assert found.classes.tolist() == [0, 1]
    assert found.uncertain.tolist() == [True, False]
    assert np.array_equal(found.masks[0], region(2, 1, 7, 5))
    expected = np.where(region(5, 3, 9, 6), 2, np.where(region(2, 1, 7, 5), 255, 0))
    assert np.array_equal(found.semantic, expected)
    assert opened(tmp_path).labels == {"a": ("dog", "person"), "b": ("dog",)}
    truth_of(tmp_path).fingerprint(["a", "b"])
    with pytest.raises(UserError, match="no object has a segmentation, boxes teach no masks"):
        truth_of(tmp_path).fingerprint(["b"])


def test_truth_is_that_of_the_files(root: Path) -> None:
    truth = truth_of(root)
    assert truth.covers([FIRST, SECOND, THIRD])
    assert not truth.covers([FIRST, "nowhere"])
    assert truth.context(FIRST) is None
    before = truth.fingerprint([FIRST])
    with pytest.raises(UserError, match=r"photo 'nowhere' is not in .*instances_train2014\.json, .*val2014\.json"):
        truth.fingerprint(["nowhere"])
    path = root / "annotations/instances_val2014.json"
    path.write_text(path.read_text() + "\n")
    assert truth_of(root).fingerprint([FIRST]) != before


def test_truth_is_not_read_before_it_is_asked_for(tmp_path: Path) -> None:
    truth = CocoTruth((tmp_path / "nowhere.json",))
    with pytest.raises(UserError, match=r"nowhere\.json is missing"):
        truth.covers(["a"])


@pytest.mark.parametrize(
    "segmentation",
    [
        "",
        7,
        [[0, 0, 1, 1]],
        [[0, 0, 1, 0, 1, 1, 0]],
        [[0, 0, 1e9, 0, 1e9, 1e9]],
        [[0, 0, float("nan"), 0, 1, 1]],
        [["x"] * 6],
        [7],
        {},
        {"size": [HEIGHT, WIDTH]},
        {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": [7]},
        {"size": [HEIGHT, WIDTH], "counts": [-7, HEIGHT * WIDTH + 7]},
        {"size": [HEIGHT, WIDTH], "counts": "0" * 50},
        {"size": [HEIGHT, WIDTH], "counts": "zzzzzzzzzz"},
        {"size": [HEIGHT, WIDTH], "counts": "été"},
    ],
)
def test_segmentations_of_another_form(tmp_path: Path, segmentation: Any) -> None:
    write(tmp_path, 2014, train=(["a.jpg"], [annotation(1, 1, segmentation)]), val=(["b.jpg"], []))
    with pytest.raises(UserError, match=r"instances_train2014\.json: a segmentation of photo 'a' cannot be read"):
        truth_of(tmp_path)("a")


def test_no_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"annotations/instances_train2014\.json is missing: it holds classes and tags"):
        opened(tmp_path)
    with pytest.raises(UserError, match="no such folder; give the folder that holds annotations/, train2014/"):
        opened(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": None}, "does not hold instances"),
        ({"categories": []}, "does not hold instances"),
        ({"annotations": [{"image_id": 99, "category_id": 1}]}, "does not hold instances"),
        ({"annotations": [{"image_id": 1, "category_id": 2}]}, "has no category of the file"),
        ({"annotations": [{"image_id": 1, "category_id": [1]}]}, "does not hold instances"),
        ({"images": [{"id": 1, "file_name": "a.jpg", "height": 1, "width": 1}] * 2}, "stands there twice"),
        ({"categories": [*CATEGORIES, {"id": 5, "name": "dog"}]}, "categories must be some, each with a name"),
        ({"categories": [*CATEGORIES, {"id": 1, "name": "cat"}]}, "categories must be some, each with a name"),
    ],
)
def test_json_of_another_form(root: Path, change: dict[str, Any], reason: str) -> None:
    path = root / "annotations/instances_train2014.json"
    write_json(path, json.loads(path.read_text()) | change)
    with pytest.raises(UserError, match=rf"instances_train2014\.json.*{reason}") as refusal:
        opened(root)
    assert "\n" not in str(refusal.value)


def test_two_files_of_different_classes(root: Path) -> None:
    path = root / "annotations/instances_val2014.json"
    write_json(path, {"images": [], "annotations": [], "categories": CATEGORIES[:2]})
    with pytest.raises(UserError, match=r"instances_val2014\.json has other categories than .*train2014\.json"):
        opened(root)


@pytest.mark.parametrize("file", ["../a.jpg", "/etc/a.jpg"])
def test_file_names_that_lead_elsewhere(root: Path, file: str) -> None:
    path = root / "annotations/instances_train2014.json"
    images = [{"id": 1, "file_name": file, "height": 1, "width": 1}]
    write_json(path, json.loads(path.read_text()) | {"images": images})
    with pytest.raises(UserError, match=r"instances_train2014\.json: .* is no id"):
        opened(root).ids("train")
