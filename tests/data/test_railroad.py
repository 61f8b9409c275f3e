"""Railroad: the same for ever, truthful, with the statistics it promises, written whole or not at all."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from eps.data import railroad
from eps.data.railroad import CLASSES, CONTEXTS, Scene, scene, write
from eps.errors import UserError

SIZES = {"train": 4, "val": 2, "shift": 3}


def drawn(split: str, count: int, *, seed: int = 0, size: int = 64) -> list[Scene]:
    return [scene(seed=seed, split=split, index=index, size=size) for index in range(count)]


@pytest.fixture(scope="module")
def many() -> list[Scene]:
    return drawn("train", 300, seed=5)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_names() -> None:
    assert CLASSES == ("train", "boat", "car", "plane", "tree")
    assert CONTEXTS == ("rails", "water", "road", "sky", "grass")


def test_a_scene_can_be_made_again_alone() -> None:
    first = scene(seed=3, split="val", index=7)
    again = scene(seed=3, split="val", index=7)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_seed_split_and_index_each_change_the_scene() -> None:
    image = scene(seed=0, split="train", index=0, size=64).image
    for seed, split, index in [(1, "train", 0), (0, "val", 0), (0, "train", 1)]:
        assert (scene(seed=seed, split=split, index=index, size=64).image != image).mean() > 0.5


@pytest.mark.parametrize("split", ["train", "val", "shift"])
@pytest.mark.parametrize("size", [64, 96, 128])
def test_masks_and_tags_agree(split: str, size: int) -> None:
    for made in drawn(split, 12, size=size):
        assert made.image.shape == (size, size, 3)
        assert made.saliency.shape == made.semantic.shape == made.objects.shape == made.context.shape == (size, size)
        np.testing.assert_array_equal(made.semantic > 0, made.objects > 0)
        assert not (made.context[made.objects > 0] > 0).any()
        assert made.context.max() <= len(CONTEXTS)
        numbers = set(np.unique(made.objects).tolist()) - {0}
        assert numbers == set(range(1, len(numbers) + 1))
        assert 1 <= len(numbers) <= 4
        for number in numbers:
            mask = made.objects == number
            assert len(set(made.semantic[mask].tolist())) == 1
            assert mask.sum() >= 40 * (size / 128) ** 2
        seen = sorted(set(made.semantic[made.semantic > 0].tolist()))
        assert made.tags == tuple(CLASSES[c - 1] for c in seen)


def test_contexts_keep_company_in_train_and_not_in_shift(many: list[Scene]) -> None:
    def share(scenes: list[Scene], *, present: bool) -> float:
        found = [
            bool((made.context == c + 1).any())
            for made in scenes
            for c, name in enumerate(CLASSES)
            if (name in made.tags) == present
        ]
        return float(np.mean(found))

    assert share(many, present=True) == pytest.approx(0.95, abs=0.03)
    assert share(many, present=False) == pytest.approx(0.03, abs=0.02)
    shifted = drawn("shift", 200)
    assert share(shifted, present=True) == pytest.approx(share(shifted, present=False), abs=0.06)


def test_context_areas(many: list[Scene]) -> None:
    areas = [np.mean(made.context == c) for made in many for c in np.unique(made.context) if c]
    assert np.median(areas) == pytest.approx(0.25, abs=0.05)
    assert np.quantile(areas, 0.02) > 0.1
    assert max(areas) < 0.46


def test_saliency_misses_some_objects_and_finds_things_of_no_class(many: list[Scene]) -> None:
    missed = [
        np.quantile(made.saliency[made.objects == number], 0.75) < 80
        for made in many
        for number in range(1, int(made.objects.max()) + 1)
    ]
    assert np.mean(missed) == pytest.approx(0.07, abs=0.03)
    far = [~ndimage.binary_dilation(made.objects > 0, iterations=4) for made in many]
    distracted = [(made.saliency[mask] > 110).any() for made, mask in zip(many, far, strict=True)]
    assert np.mean(distracted) == pytest.approx(0.15, abs=0.05)


def test_colour_does_not_give_the_class_away(many: list[Scene]) -> None:
    """Leave-one-out nearest class mean of the objects' colours: far from certain."""
    colours, classes = [], []
    for made in many:
        for number in range(1, int(made.objects.max()) + 1):
            mask = made.objects == number
            colours.append(made.image[mask].mean(axis=0))
            classes.append(int(made.semantic[mask][0]))
    points, truth = np.array(colours), np.array(classes)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    votes = truth[np.argsort(distance, axis=1)[:, :9]]
    guesses = np.array([np.bincount(vote).argmax() for vote in votes])
    assert np.mean(guesses == truth) < 0.5


def test_writes_the_dataset_layout(tmp_path: Path) -> None:
    write(tmp_path / "set", seed=2, sizes=SIZES, size=64)
    root = tmp_path / "set"
    labels = json.loads((root / "image_labels.json").read_text())
    assert labels["classes"] == list(CLASSES)
    names = [name for split in SIZES for name in (root / f"ImageSets/Segmentation/{split}.txt").read_text().split()]
    assert list(labels["labels"]) == names
    assert names[0] == "train_00000"
    assert names[-1] == "shift_00002"
    for name in names:
        split, number = name.split("_")
        made = scene(seed=2, split=split, index=int(number), size=64)
        assert labels["labels"][name] == list(made.tags)
        photo = np.asarray(Image.open(root / "JPEGImages" / f"{name}.jpg")).astype(float)
        assert np.abs(photo - made.image).mean() < 12
        saliency = Image.open(root / "SALImages" / f"{name}.png")
        assert saliency.mode == "L"
        np.testing.assert_array_equal(saliency, made.saliency)
        for folder, mask in [("Class", made.semantic), ("Object", made.objects), ("Context", made.context)]:
            image = Image.open(root / f"Segmentation{folder}" / f"{name}.png")
            assert image.mode == "P"
            np.testing.assert_array_equal(image, mask)
    assert len(files(root)) == 5 * len(names) + len(SIZES) + 2


def test_same_bytes_twice_and_a_larger_set_begins_with_the_smaller(tmp_path: Path) -> None:
    write(tmp_path / "one", sizes=SIZES, size=64)
    write(tmp_path / "two", sizes=SIZES, size=64)
    write(tmp_path / "more", sizes={split: count + 1 for split, count in SIZES.items()}, size=64)
    one, more = files(tmp_path / "one"), files(tmp_path / "more")
    assert files(tmp_path / "two") == one
    pictures = {name for name in one if name.endswith(("jpg", "png"))}
    assert pictures < set(more)
    assert all(one[name] == more[name] for name in pictures)


def test_writes_once_and_refuses_other_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "set"
    root.mkdir()  # an empty folder is no obstacle
    write(root, sizes={"train": 1}, size=64)
    monkeypatch.setattr(railroad, "_write_files", lambda *_, **__: pytest.fail("written again"))
    write(root, sizes={"train": 1}, size=64)
    with pytest.raises(UserError, match=r"set holds another railroad set.*remove it or choose another data\.root"):
        write(root, sizes={"train": 2}, size=64)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(UserError, match=r"photos exists and is no railroad set"):
        write(tmp_path / "photos", sizes={"train": 1}, size=64)
    with pytest.raises(UserError, match="no split 'test'"):
        write(tmp_path / "new", sizes={"test": 1}, size=64)


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(railroad, "_write_scene", fail)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set", sizes={"train": 1}, size=64)
    assert list(tmp_path.iterdir()) == []


def test_another_process_may_finish_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "set"
    write(tmp_path / "other", sizes={"train": 1}, size=64)
    honest = railroad._write_files

    def overtaken(partial: Path, *, seed: int, sizes: dict[str, int], size: int) -> None:
        honest(partial, seed=seed, sizes=sizes, size=size)
        shutil.copytree(tmp_path / "other", root)

    monkeypatch.setattr(railroad, "_write_files", overtaken)
    write(root, sizes={"train": 1}, size=64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "set"]
