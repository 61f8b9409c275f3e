from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eps.app_page.looking import SIDE
from eps.app_page.review import (
    ALL,
    MARKED,
    THUMBNAIL,
    UNMARKED,
    Marks,
    Review,
    Reviewed,
    difference,
    read_stated,
    worst_first,
)
from eps.data.artifacts import write_instances, write_json, write_mask, write_saliency, write_scores
from eps.data.layout import DatasetFolder
from eps.data.mask_sources import PseudoMasks
from eps.errors import UserError

ROWS = [
    Reviewed("a", (0,), 0.2),
    Reviewed("b", (1,), None),
    Reviewed("c", (0, 1), 0.9),
    Reviewed("d", (), 0.2),
]


def photos(rows: list[Reviewed]) -> list[str]:
    return [row.photo for row in rows]


def test_the_worst_come_first_and_those_that_nothing_is_known_of_last() -> None:
    assert photos(worst_first(ROWS)) == ["c", "a", "d", "b"]
    assert photos(worst_first(ROWS, only=0)) == ["c", "a"]
    assert photos(worst_first(ROWS, which=MARKED, marked={"a", "b"})) == ["a", "b"]
    assert photos(worst_first(ROWS, which=UNMARKED, marked={"a", "b"})) == ["c", "d"]
    assert photos(worst_first(ROWS, only=1, which=ALL, marked={"b"})) == ["c", "b"]
    assert worst_first([]) == []


@pytest.fixture
def review(tmp_path: Path) -> Review:
    """Two photos of 6 x 8 pixels: the left half of one is a bird in both maps, the mask of the other is elsewhere."""
    data, run = tmp_path / "data", tmp_path / "run" / "pseudo_masks"
    (data / "JPEGImages").mkdir(parents=True)
    left = np.zeros((6, 8), dtype=bool)
    left[:, :4] = True
    for photo, labels in (("one", left), ("two", ~left)):
        Image.new("RGB", (8, 6), (90, 90, 90)).save(data / "JPEGImages" / f"{photo}.jpg")
        write_mask(run / "masks" / f"{photo}.png", labels.astype(np.uint8))
    write_saliency(data / "SALImages" / "one.png", left.astype(np.uint8) * 255)
    write_saliency(data / "SALImages" / "two.png", left.astype(np.uint8) * 255)
    write_scores(run / "scores" / "two.npz", np.stack([~left, np.zeros_like(left)]).astype(np.float32))
    write_json(data / "image_labels.json", {"classes": ["bird", "train"], "labels": {"one": ["train"], "two": []}})
    (data / "ImageSets" / "Segmentation").mkdir(parents=True)
    (data / "ImageSets" / "Segmentation" / "train.txt").write_text("one\ntwo\n")
    sizes = {"one": (6, 8), "two": (6, 8)}
    write_instances(run / "instances.json", {"one": [], "two": []}, sizes=sizes, classes=["bird", "train"])
    return Review(PseudoMasks(run), DatasetFolder.open(data))


def test_every_mask_is_looked_at(review: Review) -> None:
    counted: list[int] = []
    assert review.survey(counted.append) == [Reviewed("one", (0, 1), 0.0), Reviewed("two", (0,), 1.0)]
    assert counted == [1, 2]


def test_without_a_saliency_map_nothing_is_known(review: Review) -> None:
    review.folder.saliency_path("two").unlink()
    assert review.survey()[1] == Reviewed("two", (0,), None)
    assert [name for _, name in review.pictures("two")] == ["photo", "pseudo-mask", "localization maps, the best"]


def test_pictures_of_a_photo(review: Review) -> None:
    shown = review.pictures("one")
    assert [name for _, name in shown] == ["photo", "pseudo-mask", "saliency"]
    assert {picture.size for picture, _ in shown} == {(SIDE, SIDE * 6 // 8)}
    assert [name for _, name in review.pictures("two")][2:] == ["saliency", "localization maps, the best"]
    assert review.thumbnail("one").size == (THUMBNAIL, THUMBNAIL * 6 // 8)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"classes": ("bird", "boat")}, "it is of train, it is not of boat"),
        ({"classes": ("train", "bird")}, "its classes have another order"),
        ({"classes": ("bird",)}, "it is of train"),
        ({"classes": ("bird", "train", *"abcdef")}, "it is not of a, b, c, d and 2 more"),
        ({"splits": {"val": ("one", "two")}}, "split 'train' of DATA has no photo 'one', which it has a mask of"),
        ({"splits": {"train": ("three", "one")}}, "split 'train' of DATA has no photo 'two', which it has a mask of"),
        ({"labels": {"one": ()}}, "split 'train' of DATA has no photo 'two', which it has a mask of"),
    ],
)
def test_another_dataset_is_told(review: Review, change: dict[str, Any], expected: str | None) -> None:
    stated = read_stated(review.masks.folder / "instances.json")
    told = difference(stated, replace(review.folder, **change), split="train")
    assert told == (expected and expected.replace("DATA", str(review.folder.root)))


def test_other_photos_of_the_same_names_are_told(review: Review, tmp_path: Path) -> None:
    stated, path = read_stated(review.masks.folder / "instances.json"), tmp_path / "data" / "JPEGImages" / "two.jpg"
    Image.new("RGB", (16, 12)).save(path)
    assert difference(stated, review.folder, split="train") == "its mask of 'two' is 8x6, the photo 16x12"
    path.unlink()
    told = difference(stated, DatasetFolder.open(tmp_path / "data"), split="train")
    assert told == f"split 'train' of {tmp_path / 'data'} has no photo 'two', which it has a mask of"


def test_masks_that_do_not_say_what_they_are_of(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    for content in ([], {"images": [{"file_name": "a"}], "categories": []}, {"images": []}, {"images": None}):
        write_json(path, content)
        with pytest.raises(UserError, match=r"instances\.json does not say of which classes and photos it is"):
            read_stated(path)


def test_marks_are_a_list_in_the_order_of_the_photos(tmp_path: Path) -> None:
    path = tmp_path / "exclude.txt"
    marks = Marks(path, ["b", "a", "c"])
    assert marks.read() == []
    assert [marks.toggle("c"), marks.toggle("b"), marks.toggle("a"), marks.toggle("c")] == [True, True, True, False]
    assert path.read_text() == "b\na\n"
    assert marks.read() == ["b", "a"]
    with pytest.raises(UserError, match="'x' is no photo of the run"):
        marks.toggle("x")
    path.write_text("x\n")
    with pytest.raises(UserError, match=r"exclude\.txt: the run has no photo 'x'"):
        marks.read()


def test_marks_of_several_pages_add_up(tmp_path: Path) -> None:
    names = [str(number) for number in range(24)]
    marks = Marks(tmp_path / "exclude.txt", names)
    threads = [Thread(target=marks.toggle, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(marks.read(), key=int) == names
