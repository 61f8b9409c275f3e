from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.artifacts import write_mask
from eps.data.truth import TruthFolder
from eps.errors import UserError

SEMANTIC = np.array([[0, 1, 1, 255], [0, 255, 2, 2], [1, 0, 255, 2]], dtype=np.uint8)


def mask(root: Path, folder: str, labels: list[list[int]] | np.ndarray) -> TruthFolder:
    write_mask(root / folder / "a.png", np.asarray(labels, dtype=np.uint8))
    return TruthFolder(root)


def test_semantic(tmp_path: Path) -> None:
    truth = mask(tmp_path, "SegmentationClass", SEMANTIC)
    np.testing.assert_array_equal(truth.semantic("a"), SEMANTIC)
    assert truth.covers(["a"])
    assert truth.covers([])
    assert not truth.covers(["a", "b"])


def test_objects(tmp_path: Path) -> None:
    mask(tmp_path, "SegmentationClass", SEMANTIC)
    objects = np.array([[0, 3, 3, 255], [0, 255, 1, 1], [2, 0, 255, 1]])
    found = mask(tmp_path, "SegmentationObject", objects)("a")
    assert found.classes.tolist() == [1, 0, 0]
    for number, one in zip((1, 2, 3), found.masks, strict=True):
        np.testing.assert_array_equal(one, objects == number)
    assert found.uncertain.tolist() == [False] * 3
    np.testing.assert_array_equal(found.semantic, SEMANTIC)


def test_object_takes_the_class_of_most_of_its_pixels(tmp_path: Path) -> None:
    mask(tmp_path, "SegmentationClass", [[1, 2, 2, 0]])
    assert mask(tmp_path, "SegmentationObject", [[7, 7, 7, 7]])("a").classes.tolist() == [1]


def test_object_of_void_or_background_is_none(tmp_path: Path) -> None:
    mask(tmp_path, "SegmentationClass", [[0, 255, 255, 1]])
    found = mask(tmp_path, "SegmentationObject", [[1, 2, 2, 3]])("a")
    assert found.classes.tolist() == [0]
    np.testing.assert_array_equal(found.masks, [[[False, False, False, True]]])


def test_components_stand_in_for_objects(tmp_path: Path) -> None:
    found = mask(tmp_path, "SegmentationClass", SEMANTIC)("a")
    assert sorted(zip(found.classes.tolist(), found.masks.sum(axis=(1, 2)).tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 3),
    ]


@pytest.mark.parametrize("objects", [False, True])
def test_nothing_in_the_photo(tmp_path: Path, objects: bool) -> None:
    truth = mask(tmp_path, "SegmentationClass", [[0, 255]])
    if objects:
        mask(tmp_path, "SegmentationObject", [[0, 255]])
    found = truth("a")
    assert found.masks.shape == (0, 1, 2)
    assert found.classes.shape == found.uncertain.shape == (0,)


def test_context(tmp_path: Path) -> None:
    assert TruthFolder(tmp_path).context("a") is None
    context = mask(tmp_path, "SegmentationContext", [[0, 2]]).context("a")
    assert context is not None
    assert context.tolist() == [[0, 2]]


def test_missing_mask(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"SegmentationClass/a\.png is missing: evaluation and segmenter\.supervision"):
        TruthFolder(tmp_path)("a")


def test_colour_image(tmp_path: Path) -> None:
    (tmp_path / "SegmentationClass").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "SegmentationClass/a.png")
    with pytest.raises(UserError, match=r"a\.png is a RGB image: masks are palette or grey"):
        TruthFolder(tmp_path).semantic("a")


def test_masks_of_different_sizes(tmp_path: Path) -> None:
    mask(tmp_path, "SegmentationClass", [[0, 1]])
    with pytest.raises(UserError, match=r"SegmentationObject/a\.png is \(2, 1\), its mask of classes \(1, 2\)"):
        mask(tmp_path, "SegmentationObject", [[0], [1]])("a")


def test_fingerprint(tmp_path: Path) -> None:
    prints = [mask(tmp_path, "SegmentationClass", [[0, 1]]).fingerprint(["a"])]
    prints.append(mask(tmp_path, "SegmentationClass", [[0, 2]]).fingerprint(["a"]))
    prints.append(mask(tmp_path, "SegmentationObject", [[0, 1]]).fingerprint(["a"]))
    assert len(set(prints)) == 3
    assert TruthFolder(tmp_path).fingerprint(["a"]) == prints[-1]
    with pytest.raises(UserError, match=r"b\.png is missing"):
        TruthFolder(tmp_path).fingerprint(["a", "b"])


def test_first_folder_that_has_the_mask(tmp_path: Path) -> None:
    """As with SBD's masks beside VOC's own."""
    mask(tmp_path, "SegmentationClass", [[0, 1]])
    write_mask(tmp_path / "SegmentationClassAug" / "a.png", np.array([[0, 2]], dtype=np.uint8))
    write_mask(tmp_path / "SegmentationClassAug" / "b.png", np.array([[3, 0]], dtype=np.uint8))
    truth = TruthFolder(tmp_path, ("SegmentationClass", "SegmentationClassAug"))
    assert truth.covers(["a", "b"])
    assert truth.semantic("a").tolist() == [[0, 1]]
    assert truth.semantic("b").tolist() == [[3, 0]]
    assert truth("b").classes.tolist() == [2]
    other = TruthFolder(tmp_path, ("SegmentationClassAug",))
    assert other.semantic("a").tolist() == [[0, 2]]
    assert truth.fingerprint(["a"]) != other.fingerprint(["a"])
    assert truth.fingerprint(["b"]) == other.fingerprint(["b"])
