from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from eps.app_page.looking import SIDE
from eps.app_page.review import ALL, MARKED, THUMBNAIL, UNMARKED, Marks, Review, Reviewed, worst_first
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
    write_scores(run / "scores" / "two.npz", (~left).astype(np.float32)[None])
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


def test_another_dataset_is_refused(review: Review, tmp_path: Path) -> None:
    (tmp_path / "data" / "JPEGImages" / "two.jpg").unlink()
    with pytest.raises(UserError, match=r"has no photo 'two', which .* has a mask of: give the dataset"):
        Review(review.masks, DatasetFolder.open(tmp_path / "data"))


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
