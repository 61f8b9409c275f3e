"""Every fault of a COCO json is told, by kind and with the annotations that have it."""

from pathlib import Path
from typing import Any

import pytest

from eps.data.artifacts import write_json
from eps.data.coco_checks import coco_faults
from eps.data.coco_truth import CocoTruth
from eps.errors import UserError

SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]


def annotation(number: int, **changes: Any) -> dict[str, Any]:
    plain = {"id": number, "image_id": 1, "category_id": 1, "segmentation": SQUARE, "bbox": [2, 2, 4, 4], "area": 16}
    return {**plain, "iscrowd": 0, **changes}


def content(*annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    images = [{"id": 1, "file_name": "a.jpg", "height": 10, "width": 20}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "categories": categories, "annotations": list(annotations), **changes}


def image(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "file_name": "a.jpg", "height": 10, "width": 20, **changes}


def checked(path: Path, made: Any) -> tuple[list[str], list[str]]:
    write_json(path / "a.json", made)
    found = coco_faults(path / "a.json")
    strip = f"{path / 'a.json'}: "
    return [line.removeprefix(strip) for line in found.faults], [line.removeprefix(strip) for line in found.notes]


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in annotation(7).items() if key not in keys}


def test_boxes_alone_are_notes(tmp_path: Path) -> None:
    """Tags are learnt from them; without a box either there is nothing."""
    note = "1 annotation has a box alone: a tag, but no mask to learn from; its pixels count neither way: 7 (a.jpg)"
    for box_only in (without("segmentation"), annotation(7, segmentation=[]), annotation(7, segmentation=None)):
        assert checked(tmp_path, content(annotation(1), box_only)) == ([], [note])
    nothing = "1 annotation has neither a segmentation nor a box with an area: 7 (a.jpg)"
    assert checked(tmp_path, content(annotation(1), without("segmentation", "bbox"))) == ([nothing], [])


def test_nothing_is_wrong(tmp_path: Path) -> None:
    crowd = annotation(2, iscrowd=1, segmentation={"size": [10, 20], "counts": [5, 5, 190]}, bbox=[0, 5, 1, 5])
    assert checked(tmp_path, content(annotation(1), crowd)) == ([], [])
    without_box = annotation(1)
    del without_box["bbox"]
    assert checked(tmp_path, content(without_box)) == ([], [])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"category_id": 0}, "category_id 0, which no category has; ids of categories begin at 1 there, not at 0: 7"),
        ({"category_id": 9}, "category_id 9, which no category has: 7"),
        ({"category_id": [1]}, "category_id [1], which no category has: 7"),
        ({"image_id": 3}, "an image_id that no image has: 7"),
        ({"image_id": {"id": 1}}, "an image_id that no image has: 7"),
        ({"bbox": [2, 2, 30, 4]}, "a box outside its photo; boxes are x, y, width, height in pixels"),
        (
            {"bbox": [1, 12, 4, 6]},
            "a box outside its photo; height and width of the photo may have been swapped: 7 (a.jpg)",
        ),
        ({"bbox": [2, 2, 4]}, "a bbox that is not four numbers [x, y, width, height]: 7 (a.jpg)"),
        ({"segmentation": [[1, 2, 3, 4]]}, "a segmentation that cannot be read: a polygon needs three points"),
        ({"segmentation": {"size": [20, 10], "counts": [200]}}, "a segmentation that cannot be read: run lengths of"),
        ({"bbox": [-50, -50, 10, 10]}, "a box outside its photo; boxes are x, y, width, height in pixels from"),
        ({"bbox": [12, 5, 16, 9]}, "a box outside its photo; it would fit as x0, y0, x1, y1: COCO's boxes are x, y,"),
        ({"bbox": [2, 2, float("nan"), 4]}, "a box outside its photo; it has numbers that are not finite: 7 (a.jpg)"),
        (
            {"segmentation": [[2, 2, float("nan"), 2, 6, 6]]},
            "a segmentation that cannot be read: a polygon has numbers that are not finite: 7",
        ),
        (
            {"segmentation": {"size": [20, 10], "counts": "###bad"}},
            "a segmentation that cannot be read: run lengths of size [20, 10] for a photo of [10, 20]; counts with",
        ),
        ({"segmentation": 5}, "a segmentation that cannot be read"),
    ],
)
def test_each_fault_is_explained(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    faults, notes = checked(tmp_path, content(annotation(1), annotation(7, **changes)))
    assert len(faults) == 1
    assert faults[0].startswith(f"1 annotation has {fault}")
    assert notes == []


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"segmentation": [], "bbox": None}, "a mask without a pixel, which is left out"),
        ({"segmentation": [[2, 2, 2, 2, 2, 2]]}, "a mask without a pixel, which is left out"),
        ({"bbox": [2, 2, 0, 4]}, "a box without area"),
        (
            {"bbox": [12, 5, 4, 4]},
            "a bbox that is not that of its own mask: AP of boxes goes by the bbox, masks are learnt",
        ),
    ],
)
def test_what_is_left_out_is_a_note(tmp_path: Path, changes: dict[str, Any], note: str) -> None:
    """COCO itself has such annotations: they are no reason to stop."""
    faults, notes = checked(tmp_path, content(annotation(7, **changes)))
    assert (faults, notes) == ([], [f"1 annotation has {note}: 7 (a.jpg)"])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"categories": []}, "there are no categories"),
        ({"categories": [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]}, "2 categories have the id '1'"),
        ({"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]}, "2 categories have the name 'cat'"),
        ({"images": []}, "there are no images"),
        ({"images": [{"id": 1, "file_name": "a.jpg"}]}, "1 image has no height: a.jpg"),
        ({"images": [image(height="abc")]}, "the height of 1 image is no positive whole number: a.jpg"),
        ({"images": [image(width=None)]}, "the width of 1 image is no positive whole number: a.jpg"),
        ({"images": [image(height=10.5)]}, "the height of 1 image is no positive whole number: a.jpg"),
        ({"images": [image(height=True)]}, "the height of 1 image is no positive whole number: a.jpg"),
        ({"images": [image(width=0)]}, "the width of 1 image is no positive whole number: a.jpg"),
        ({"images": [image(id=[1])]}, "the id of 1 image is neither a whole number nor text: a.jpg"),
        ({"images": [image(id=None)]}, "the id of 1 image is neither a whole number nor text: a.jpg"),
        ({"images": [image(file_name=5)]}, "the file_name of 1 image is no text: 5"),
        ({"categories": [{"id": [1], "name": "cat"}]}, "1 annotation has category_id 1, which no category has"),
        (
            {"images": 2 * [{"id": 1, "file_name": "a.jpg", "height": 10, "width": 20}]},
            "1 id in images more than once, each needs its own: 1",
        ),
    ],
)
def test_photos_and_categories(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    faults, _ = checked(tmp_path, content(annotation(1), **changes))
    assert any(line.startswith(fault) for line in faults)


@pytest.mark.parametrize(("height", "width"), [(10**6, 10**6), (10**7, 18), (1, 10**30)])
def test_photos_larger_than_any(tmp_path: Path, height: int, width: int) -> None:
    """Of a box alone a mask would be made of that size: of 90 TiB."""
    made = content(annotation(1, bbox=[0, 0, 1, 1], segmentation=[]), images=[image(height=height, width=width)])
    faults, _ = checked(tmp_path, made)
    assert faults == ["1 image would have more than 178956970 pixels, no photo does: a.jpg"]
    with pytest.raises(UserError, match=f"a.json does not hold instances in COCO's format: .*a, is {width}x{height}"):
        CocoTruth((tmp_path / "a.json",))("a")


def test_many_of_a_kind_are_one_line(tmp_path: Path) -> None:
    faults, _ = checked(tmp_path, content(*(annotation(n, category_id=9) for n in range(1, 9))))
    assert faults == ["8 annotations have category_id 9, which no category has: 1, 2, 3, 4, 5 and 3 more"]
    faults, _ = checked(tmp_path, content(annotation(1), annotation(1)))
    assert faults == ["1 annotation has an id that another annotation has: number them anew: 1"]


def test_another_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [{"image_id": 1, "score": 0.5}])
    assert "is a list, as results are" in coco_faults(tmp_path / "a.json").faults[0]
    write_json(tmp_path / "a.json", {"images": [], "annotations": [1], "categories": []})
    assert "has no list of records 'annotations'" in coco_faults(tmp_path / "a.json").faults[0]
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        coco_faults(tmp_path / "a.json")


def test_photos_of_odd_size_have_no_other_faults(tmp_path: Path) -> None:
    """What cannot be told without a size is not told; the other photos are checked all the same."""
    images = [image(height="abc"), image(id=2, file_name="b.jpg")]
    outside = [annotation(n, image_id=n, bbox=[2, 2, 30, 4]) for n in (1, 2)]
    faults, _ = checked(tmp_path, content(*outside, images=images))
    assert faults == [
        "the height of 1 image is no positive whole number: a.jpg",
        "1 annotation has a box outside its photo; "
        "boxes are x, y, width, height in pixels from the photo's upper left corner: 2 (b.jpg)",
    ]


def test_ids_of_annotations_may_be_anything(tmp_path: Path) -> None:
    faults, _ = checked(tmp_path, content(annotation(1, id=[1]), annotation(1, id={"a": 1}), annotation(1, id=[1])))
    assert faults == ["1 annotation has an id that another annotation has: number them anew: [1]"]


def test_boxes_that_tools_round_do_not_contradict_their_masks(tmp_path: Path) -> None:
    for box in ([1, 1, 6, 6], [2.5, 2.5, 2, 2], [0, 2, 7, 4]):
        assert checked(tmp_path, content(annotation(7, bbox=box))) == ([], [])


def test_the_summary_has_counts_and_ids(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", content(annotation(1), annotation(2, iscrowd=1), annotation(3)))
    summary = coco_faults(tmp_path / "a.json").summary
    assert summary.endswith("a.json: 1 photo, 2 objects, 1 crowd; ids of categories: 1 cat, 2 dog")
