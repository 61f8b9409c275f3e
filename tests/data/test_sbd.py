"""SBD's .mat files, written by the test as MATLAB's structs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from eps.data.class_names import VOC
from eps.data.layout import DatasetFolder
from eps.data.listing import Places
from eps.data.sbd import read_segmentation, sbd_form
from eps.data.sbd_truth import SbdTruth
from eps.errors import UserError

PERSON, CAT = VOC.index("person") + 1, VOC.index("cat") + 1
NUMBERS = np.array([[0, 1, 1, 0], [2, 1, 0, 3], [2, 2, 3, 3]], dtype=np.uint8)
CLASSES = np.array([[PERSON], [CAT], [PERSON]], dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two photos, of which the second shows nothing; the archive's own folders."""
    folder = tmp_path / "benchmark_RELEASE" / "dataset"
    for name in ("img", "cls", "inst"):
        (folder / name).mkdir(parents=True)
    empty = np.zeros((3, 4), dtype=np.uint8)
    for photo, numbers, classes in (("p1", NUMBERS, CLASSES), ("p2", empty, np.zeros((0, 1), dtype=np.uint8))):
        Image.new("RGB", (4, 3)).save(folder / "img" / f"{photo}.jpg")
        values = np.concatenate([[0], classes.ravel()]).astype(np.uint8)[numbers]
        savemat(folder / "cls" / f"{photo}.mat", {"GTcls": {"Segmentation": values, "CategoriesPresent": classes}})
        savemat(folder / "inst" / f"{photo}.mat", {"GTinst": {"Segmentation": numbers, "Categories": classes}})
    (folder / "train.txt").write_text("p1\n")
    (folder / "val.txt").write_text("p2\n")
    return tmp_path


def opened(root: Path) -> DatasetFolder:
    form = sbd_form(root, Places(tags="cls"))
    return DatasetFolder.of(form, form.read())


def test_tags_splits_and_photos(root: Path) -> None:
    folder = opened(root)
    assert folder.classes == VOC
    assert (folder.ids("train"), folder.ids("val")) == (["p1"], ["p2"])
    assert {c for c, there in zip(VOC, folder.tags("p1"), strict=True) if there} == {"person", "cat"}
    assert not folder.tags("p2").any()
    assert folder.photo("p1").size == (4, 3)


def test_objects(root: Path) -> None:
    truth = SbdTruth(opened(root).root)
    found = truth("p1")
    assert found.classes.tolist() == [PERSON - 1, CAT - 1, PERSON - 1]
    numbers = NUMBERS.copy()
    for number, mask in enumerate(found.masks, start=1):
        np.testing.assert_array_equal(mask, numbers == number)
    expected = np.zeros_like(numbers)
    for number, value in enumerate(CLASSES.ravel(), start=1):
        expected[numbers == number] = value
    np.testing.assert_array_equal(found.semantic, expected)
    np.testing.assert_array_equal(truth.semantic("p1"), read_segmentation(truth.root / "cls" / "p1.mat", "GTcls"))
    assert not found.uncertain.any()
    nothing = truth("p2")
    assert nothing.masks.shape == (0, 3, 4)
    assert not nothing.semantic.any()
    assert truth.covers(["p1", "p2"])
    assert not truth.covers(["p3"])
    assert truth.fingerprint(["p1"]) != truth.fingerprint(["p2"])


def test_mistakes(root: Path, tmp_path: Path) -> None:
    folder = opened(root).root
    truth = SbdTruth(folder)
    for ask in (truth, lambda photo: truth.fingerprint([photo])):
        with pytest.raises(UserError, match=r"p9\.mat is missing"):
            ask("p9")
    savemat(folder / "inst" / "p1.mat", {"GTinst": {"Segmentation": NUMBERS, "Categories": CLASSES[:2]}})
    with pytest.raises(UserError, match="object 3 has no class, there are 2"):
        truth("p1")
    savemat(folder / "inst" / "p1.mat", {"GTinst": {"Segmentation": NUMBERS, "Categories": CLASSES + 20}})
    with pytest.raises(UserError, match="are not classes from 1 to 20"):
        truth("p1")
    (folder / "cls" / "p1.mat").unlink()
    with pytest.raises(UserError, match=r"p1\.mat is missing"):
        opened(root).ids("train")
    with pytest.raises(UserError, match="there is no img/ in it"):
        sbd_form(folder / "cls", Places(tags="cls"))
    with pytest.raises(UserError, match="it holds SBD's class masks"):
        sbd_form(root, Places(tags="classes"))


def test_cut_files_are_told(root: Path) -> None:
    path = root / "benchmark_RELEASE" / "dataset" / "inst" / "p1.mat"
    whole, other = path.read_bytes(), path.with_name("cut.mat")
    for kept in range(0, len(whole) - 8, 7):
        other.write_bytes(whole[:kept])
        with pytest.raises(UserError, match=r"cut\.mat is no file of MATLAB's"):
            read_segmentation(other, "GTinst")


@pytest.mark.parametrize("content", [b"", b"not a mat", b"\x89PNG\r\n", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_other_files_are_told(root: Path, content: bytes) -> None:
    other = root / "other.mat"
    other.write_bytes(content)
    with pytest.raises(UserError, match=r"other\.mat is no file of MATLAB's"):
        read_segmentation(other, "GTinst")
