import json
import os
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eps.data.layout import DatasetFolder
from eps.errors import UserError

SIZES = {"a": (7, 5), "photo 2": (97, 65)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two photos of odd sizes, one of them grey and with a blank in its name."""
    generator = np.random.default_rng(0)
    for folder in ("JPEGImages", "SALImages", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    for name, (width, height) in SIZES.items():
        pixels = generator.integers(0, 256, size=(height, width), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "SALImages" / f"{name}.png")
    Image.fromarray(generator.integers(0, 256, size=(5, 7, 3), dtype=np.uint8)).save(tmp_path / "JPEGImages/a.png")
    Image.fromarray(pixels).save(tmp_path / "JPEGImages/photo 2.jpg")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("photo 2\n\n  a \n")
    describe(tmp_path, {"classes": ["train", "boat"], "labels": {"a": ["boat"], "photo 2": []}})
    return tmp_path


def describe(root: Path, content: Any) -> None:
    (root / "image_labels.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_what_it_holds(root: Path) -> None:
    folder = DatasetFolder.open(root)
    assert folder.classes == ("train", "boat")
    assert folder.ids("train") == ["photo 2", "a"]
    assert folder.tags("a").tolist() == [False, True]
    assert folder.tags("photo 2").tolist() == [False, False]
    assert folder.has_split("train")
    assert not folder.has_split("val")


def test_photos_are_rgb_whatever_their_file(root: Path) -> None:
    folder = DatasetFolder.open(root)
    for name, size in SIZES.items():
        photo = folder.photo(name)
        assert (photo.mode, photo.size) == ("RGB", size)
    grey = np.asarray(folder.photo("photo 2"))
    assert (grey[..., 0] == grey[..., 2]).all()
    assert folder.photo_path("a").suffix == ".png"


def test_saliency_is_what_the_file_holds(root: Path) -> None:
    folder = DatasetFolder.open(root)
    with Image.open(root / "SALImages/photo 2.png") as image:
        np.testing.assert_array_equal(folder.saliency("photo 2", size=(65, 97)), np.asarray(image))


def test_black_and_white_saliency(root: Path) -> None:
    Image.fromarray(np.eye(5, 7, dtype=bool)).save(root / "SALImages/a.png")
    saliency = DatasetFolder.open(root).saliency("a", size=(5, 7))
    np.testing.assert_array_equal(saliency, 255 * np.eye(5, 7, dtype=np.uint8))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=.*nowhere: no such folder"):
        DatasetFolder.open(tmp_path / "nowhere")


def test_missing_tags(root: Path) -> None:
    (root / "image_labels.json").unlink()
    with pytest.raises(UserError, match=r"image_labels\.json is missing: it names the classes"):
        DatasetFolder.open(root)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "\x00",
        [],
        {},
        {"classes": ["train"]},
        {"classes": None, "labels": {}},
        {"classes": ["train"], "labels": ["a"]},
        {"classes": ["train"], "labels": {"a": None}},
        {"classes": ["train"], "labels": {"a": 1}},
        {"classes": ["train"], "labels": {"a": "train"}},
    ],
)
def test_tags_of_another_form(root: Path, content: Any) -> None:
    describe(root, content)
    with pytest.raises(UserError, match=r"image_labels\.json is not of the form"):
        DatasetFolder.open(root)


def test_background_is_no_class(root: Path) -> None:
    describe(root, {"classes": ["background", "train"], "labels": {"a": ["train"]}})
    with pytest.raises(UserError, match=r"image_labels\.json: 'background' is no class: leave it out") as refused:
        DatasetFolder.open(root)
    assert "\n" not in str(refused.value)


def test_unreadable_saliency_says_what_to_do(root: Path) -> None:
    (root / "SALImages/a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.png cannot be read .*; delete it, or .*saliency\.overwrite=true"):
        DatasetFolder.open(root).saliency("a", size=(5, 7))


def test_tags_that_are_a_text_name_the_photo(root: Path) -> None:
    describe(root, {"classes": ["a", "b"], "labels": {"p0": "ab"}})
    with pytest.raises(UserError, match="the tags of photo 'p0' are 'ab', not a list"):
        DatasetFolder.open(root)


@pytest.mark.parametrize("suffix", [".JPG", ".Jpeg", ".PNG"])
def test_suffix_of_any_case(root: Path, suffix: str) -> None:
    path = (root / "JPEGImages/a.png").rename(root / f"JPEGImages/a{suffix}")
    assert DatasetFolder.open(root).photo_path("a") == path


def test_photo_twice_in_a_split(root: Path) -> None:
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nphoto 2\na\n")
    with pytest.raises(UserError, match=r"train\.txt: photo 'a' stands there more than once"):
        DatasetFolder.open(root).ids("train")


@pytest.mark.parametrize("name", ["JPEGImages/a.png", "SALImages/a.png"])
def test_fingerprint_is_of_contents(root: Path, name: str) -> None:
    before = DatasetFolder.open(root).fingerprint(["a"], with_saliency=True)
    content = bytearray((root / name).read_bytes())
    content[-1] ^= 1
    (root / name).write_bytes(content)
    assert DatasetFolder.open(root).fingerprint(["a"], with_saliency=True) != before


@pytest.mark.parametrize("classes", [[], ["train", "train"]])
def test_classes_are_some_and_different(root: Path, classes: list[str]) -> None:
    describe(root, {"classes": classes, "labels": {}})
    with pytest.raises(UserError, match=r"image_labels\.json: classes must be a list of names"):
        DatasetFolder.open(root)


@pytest.mark.parametrize("tags", [["rails"], ["train", "rails"]])
def test_unknown_tag(root: Path, tags: Any) -> None:
    describe(root, {"classes": ["train", "boat"], "labels": {"a": tags, "photo 2": []}})
    folder = DatasetFolder.open(root)
    with pytest.raises(UserError, match=r"photo 'a' has the unknown tag '.*'; known are train, boat"):
        folder.ids("train")


def test_missing_split_names_those_there_are(root: Path) -> None:
    with pytest.raises(UserError, match=r"split 'val': .*val\.txt is missing; there are train$"):
        DatasetFolder.open(root).ids("val")
    (root / "ImageSets/Segmentation/train.txt").unlink()
    with pytest.raises(UserError, match="there are no splits"):
        DatasetFolder.open(root).ids("val")


def test_empty_split(root: Path) -> None:
    (root / "ImageSets/Segmentation/train.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"train\.txt is empty"):
        DatasetFolder.open(root).ids("train")


def test_photo_without_an_entry(root: Path) -> None:
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="photo 'b' has no entry in image_labels"):
        DatasetFolder.open(root).ids("train")


def test_missing_photo(root: Path) -> None:
    (root / "JPEGImages/a.png").unlink()
    folder = DatasetFolder.open(root)
    with pytest.raises(UserError, match="a: no photo of that id"):
        folder.photo("a")
    with pytest.raises(UserError, match="a: no photo of that id"):
        folder.fingerprint(["a"], with_saliency=False)


def test_broken_photo(root: Path) -> None:
    (root / "JPEGImages/a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.png cannot be read"):
        DatasetFolder.open(root).photo("a")


def test_missing_saliency(root: Path) -> None:
    (root / "SALImages/a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png is missing: every training photo needs a saliency map"):
        DatasetFolder.open(root).saliency("a", size=(5, 7))


def test_saliency_of_another_size(root: Path) -> None:
    """Sizes are told as width x height, as viewers tell them."""
    with pytest.raises(UserError, match=r"a\.png is 7x5, its photo 9x8; resize it"):
        DatasetFolder.open(root).saliency("a", size=(8, 9))


def test_fingerprint_is_of_what_training_reads(root: Path) -> None:
    ids = ["a", "photo 2"]

    def prints(*, with_saliency: bool = True) -> str:
        return DatasetFolder.open(root).fingerprint(ids, with_saliency=with_saliency)

    first, without = prints(), prints(with_saliency=False)
    assert first == prints() != without
    (root / "SegmentationClass").mkdir()
    (root / "SegmentationClass/a.png").touch()
    assert prints() == first
    (root / "SALImages/a.png").unlink()
    assert prints() != first
    assert prints(with_saliency=False) == without
    describe(root, {"classes": ["train", "boat"], "labels": {"a": ["train"], "photo 2": []}})
    assert prints(with_saliency=False) != without
    ids.reverse()
    describe(root, {"classes": ["train", "boat"], "labels": {"a": ["boat"], "photo 2": []}})
    assert prints(with_saliency=False) != without  # the order decides what a step sees


def test_fingerprint_is_free_of_the_place(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = DatasetFolder.open(root).fingerprint(["a"], with_saliency=True)
    moved = root.rename(tmp_path_factory.mktemp("elsewhere") / "moved")
    assert DatasetFolder.open(moved).fingerprint(["a"], with_saliency=True) == before


def test_id_that_is_too_long(root: Path) -> None:
    long = "a" * 238
    describe(root, {"classes": ["train", "boat"], "labels": {"a": [], long: []}})
    (root / "ImageSets/Segmentation/train.txt").write_text(f"a\n{long}\n")
    (root / "JPEGImages/a.png").rename(root / f"JPEGImages/{long}.png")
    with pytest.raises(UserError, match=r"train\.txt: 'aaa.*' is too long, .* 215 bytes at most, rename it"):
        DatasetFolder.open(root).ids("train")


def test_list_that_is_a_pipe(root: Path) -> None:
    os.mkfifo(path := root / "ImageSets/Segmentation/val.txt")
    Thread(target=lambda: path.open("wb").close(), daemon=True).start()
    with pytest.raises(UserError, match=r"val\.txt is no file but a folder, pipe or device"):
        DatasetFolder.open(root)
