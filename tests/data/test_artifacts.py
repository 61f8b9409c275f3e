import json
import math
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from eps.data.artifacts import (
    LabelledInstance,
    as_plain,
    fingerprint_of,
    read_instances,
    read_json,
    read_mask,
    read_scores,
    write_instances,
    write_json,
    write_mask,
    write_saliency,
    write_scores,
)
from eps.data.mask_sources import PseudoMasks
from eps.data.palette import voc_palette
from eps.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1.5, "a": [None, "ä"]})
    assert read_json(path) == {"a": [None, "ä"], "b": 1.5}
    first = path.read_bytes()
    write_json(path, {"a": [None, "ä"], "b": 1.5})
    assert path.read_bytes() == first


@pytest.mark.parametrize("content", ["", "{", "\x00\x01"])
def test_broken_json(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(UserError, match=r"a\.json is missing"):
        read_json(path)
    path.write_text(content)
    with pytest.raises(UserError, match=r"a\.json is not JSON"):
        read_json(path)


@pytest.mark.parametrize("size", [(1, 1), (65, 97)])
def test_masks(tmp_path: Path, size: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 1, 20, 255], dtype=np.uint8), size=size)
    path = tmp_path / "masks" / "a.png"
    write_mask(path, labels)
    np.testing.assert_array_equal(read_mask(path), labels)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "P")
        colours = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(colours, np.array(voc_palette(), dtype=np.uint8).reshape(256, 3)[labels])


def test_saliency_is_a_grey_png(tmp_path: Path) -> None:
    path = tmp_path / "SALImages" / "a.png"
    saliency = np.random.default_rng(0).integers(0, 256, size=(5, 7), dtype=np.uint8)
    write_saliency(path, saliency.T[:, ::-1])
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(image), saliency.T[:, ::-1])
    assert names(path.parent) == ["a.png"]


def test_mask_from_a_view(tmp_path: Path) -> None:
    labels = np.arange(24, dtype=np.uint8).reshape(4, 6)[::-1, ::2]
    write_mask(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), labels)
    read_mask(tmp_path / "a.png")[0, 0] = 1  # may be written to


def test_grey_mask_of_another_tool(tmp_path: Path) -> None:
    labels = np.array([[0, 3, 255]], dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), labels)


def test_unfit_mask(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.png is missing"):
        read_mask(tmp_path / "a.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="is a RGB image: masks are palette or grey PNGs"):
        read_mask(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        read_mask(tmp_path / "a.png")


def scores_of(*present: int, classes: int = 4) -> np.ndarray:
    scores = np.zeros((classes, 5, 7), dtype=np.float32)
    for c in present:
        scores[c] = np.random.default_rng(c).random((5, 7))
    return scores


@pytest.mark.parametrize("present", [(), (0,), (1, 3)])
def test_scores(tmp_path: Path, present: tuple[int, ...]) -> None:
    path = tmp_path / "scores" / "a.npz"
    write_scores(path, scores_of(*present))
    again = read_scores(path)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, scores_of(*present).astype(np.float16))
    with np.load(path) as content:
        assert content["scores"].shape == (len(present), 5, 7)
    assert names(path.parent) == ["a.npz"]


STORED: dict[str, object] = {
    "scores": np.full((2, 3, 5), 0.5, dtype=np.float16),
    "present": np.array([0, 2]),
    "shape": np.array([3, 3, 5]),
}


@pytest.mark.parametrize(
    "changes",
    [
        {"present": np.array([0, 99])},
        {"present": np.array([0, -1])},
        {"present": np.array([0, 0])},
        {"present": np.array([0.0, 2.0])},
        {"present": np.array(0)},
        {"scores": np.full((2, 3, 5), np.nan, dtype=np.float16)},
        {"scores": np.full((2, 3, 5), np.inf, dtype=np.float16)},
        {"scores": np.full((2, 3, 5), -0.5, dtype=np.float16)},
        {"scores": np.full((2, 3, 5), 100, dtype=np.float16)},
        {"scores": np.full((2, 1, 1), 0.5, dtype=np.float16)},
        {"scores": np.full((2, 3, 5), 1)},
        {"scores": np.full((2, 3, 5), "a")},
        {"shape": np.array([3, 3, 4])},
        {"shape": np.array([3, 3])},
        {"shape": np.array([3.0, 3.0, 5.0])},
        {"shape": np.array([3, -3, 5])},
        {"shape": np.array([3, 10**6, 10**6])},
        {"shape": np.array(["a", "b", "c"])},
    ],
)
def test_scores_that_are_none(tmp_path: Path, changes: dict[str, object]) -> None:
    np.savez(tmp_path / "a.npz", **STORED)
    assert read_scores(tmp_path / "a.npz").shape == (3, 3, 5)
    np.savez(tmp_path / "a.npz", **{**STORED, **changes})
    with pytest.raises(UserError, match=r"^[^\n]*a\.npz is damaged: remove it"):
        read_scores(tmp_path / "a.npz")


def test_scores_of_another_photo(tmp_path: Path) -> None:
    write_scores(path := tmp_path / "a.npz", scores_of(1))
    assert read_scores(path, classes=4, size=(5, 7)).shape == (4, 5, 7)
    for wanted, shape in (({"classes": 3}, "(3, 5, 7)"), ({"size": (7, 5)}, "(4, 7, 5)")):
        told = re.escape(f"a.npz has maps of (classes, height, width) (4, 5, 7), wanted are {shape}: remove it")
        with pytest.raises(UserError, match=told):
            read_scores(path, **wanted)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000])
def test_json_without_end(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=r"^[^\n]*a\.json is not JSON: [^\n]*$"):
        read_json(tmp_path / "a.json")


def test_equal_scores_make_equal_files(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_scores(tmp_path / name, scores_of(1))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no archive", "half", "other"])
def test_unfit_scores(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(UserError, match=r"a\.npz is missing: run eps\.pseudo_masks with pseudo_masks\.save_scores"):
        read_scores(path)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "half":
        write_scores(path, scores_of(1))
        path.write_bytes(path.read_bytes()[:200])
    else:
        np.savez(path, something=np.zeros(3))
    with pytest.raises(UserError, match=r"a\.npz is damaged"):
        read_scores(path)


def instance(rows: slice, columns: slice, class_index: int, *, uncertain: bool = False) -> LabelledInstance:
    mask = np.zeros((6, 9), dtype=bool)
    mask[rows, columns] = True
    return LabelledInstance(class_index=class_index, mask=mask, uncertain=uncertain)


FOUND = {
    "first": [instance(slice(1, 3), slice(2, 7), 1), instance(slice(5, 6), slice(8, 9), 0, uncertain=True)],
    "nothing here": [],
    "third": [instance(slice(0, 6), slice(0, 9), 0)],
}
SIZES = {"first": (6, 9), "nothing here": (65, 97), "third": (6, 9)}


def test_instances_come_back(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    write_instances(path, FOUND, sizes=SIZES, classes=["train", "boat"])
    again = read_instances(path)
    assert list(again) == list(FOUND)
    for name, expected in FOUND.items():
        assert [(i.class_index, i.uncertain, i.score) for i in again[name]] == [
            (i.class_index, i.uncertain, i.score) for i in expected
        ]
        for one, other in zip(again[name], expected, strict=True):
            np.testing.assert_array_equal(one.mask, other.mask)


def test_instances_are_cocos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "instances.json"
    write_instances(path, FOUND, sizes=SIZES, classes=["train", "boat"])
    coco = COCO(path)
    capsys.readouterr()
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["train", "boat"]
    assert coco.getCatIds() == [1, 2]
    for image in coco.loadImgs(coco.getImgIds()):
        assert (image["height"], image["width"]) == SIZES[image["file_name"]]
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert len(annotations) == len(FOUND[image["file_name"]])
        for annotation, expected in zip(annotations, FOUND[image["file_name"]], strict=True):
            np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), expected.mask)
            assert annotation["area"] == expected.mask.sum()
            assert annotation["category_id"] == expected.class_index + 1
            assert annotation["iscrowd"] == expected.uncertain
    first = coco.loadAnns(coco.getAnnIds(imgIds=1))[0]
    assert first["bbox"] == [2, 1, 5, 2]  # x, y, width, height
    ids = coco.getAnnIds()
    assert ids == list(range(1, len(ids) + 1))  # pycocotools takes 0 for unmatched


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"images": [], "annotations": [{}]},
        {"images": 1, "annotations": []},
        {"images": [{}], "annotations": []},
    ],
)
def test_other_instances(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "instances.json", content)
    with pytest.raises(UserError, match=r"instances\.json does not hold instances in COCO's format"):
        read_instances(tmp_path / "instances.json")


def test_pseudo_masks_as_a_source(tmp_path: Path) -> None:
    folder = tmp_path / "pseudo_masks"
    with pytest.raises(UserError, match="pseudo_masks is missing: run stage 2 first"):
        PseudoMasks(folder)
    write_instances(folder / "instances.json", FOUND, sizes=SIZES, classes=["train", "boat"])
    source = PseudoMasks(folder)
    semantic = np.zeros((6, 9), dtype=np.uint8)
    write_mask(folder / "masks" / "first.png", semantic)
    masks = source("first")
    assert masks.masks.shape == (2, 6, 9)
    assert masks.classes.tolist() == [1, 0]
    assert masks.uncertain.tolist() == [False, True]
    write_mask(folder / "masks" / "nothing here.png", np.zeros((65, 97), dtype=np.uint8))
    assert source("nothing here").masks.shape == (0, 65, 97)
    with pytest.raises(UserError, match="has no pseudo-mask of photo 'fourth': run stage 2 again"):
        source("fourth")
    with pytest.raises(UserError, match=r"third\.png is missing"):
        source("third")


def test_fingerprint_of_pseudo_masks(tmp_path: Path) -> None:
    write_instances(tmp_path / "instances.json", FOUND, sizes=SIZES, classes=["train", "boat"])
    write_mask(tmp_path / "masks" / "first.png", np.zeros((6, 9), dtype=np.uint8))
    with pytest.raises(UserError, match=r"manifest\.json is missing: run stage 2 first"):
        PseudoMasks(tmp_path).fingerprint(["first"])
    write_json(tmp_path / "manifest.json", {})
    before = PseudoMasks(tmp_path).fingerprint(["first"])
    write_mask(tmp_path / "masks" / "first.png", np.ones((6, 9), dtype=np.uint8))
    corrected = PseudoMasks(tmp_path).fingerprint(["first"])
    write_instances(tmp_path / "instances.json", {**FOUND, "first": []}, sizes=SIZES, classes=["train", "boat"])
    assert len({before, corrected, PseudoMasks(tmp_path).fingerprint(["first"])}) == 3


class Kind(StrEnum):
    one = "1"


@dataclass
class Inner:
    path: Path
    kind: Kind
    sizes: tuple[int, ...]


@dataclass
class Outer:
    inner: Inner
    value: float


def test_plain_records() -> None:
    plain = as_plain(Outer(Inner(Path("a/b"), Kind.one, (1, 2)), 0.5))
    assert plain == {"inner": {"path": "a/b", "kind": "1", "sizes": [1, 2]}, "value": 0.5}
    assert json.loads(json.dumps(plain)) == plain
    assert not math.isnan(plain["value"])


def test_fingerprints_are_of_values_in_their_order() -> None:
    record = Outer(Inner(Path("a/b"), Kind.one, (1, 2)), 0.5)
    known = fingerprint_of(record, "text")
    assert known == fingerprint_of(Outer(Inner(Path("a/b"), Kind.one, (1, 2)), 0.5), "text")
    others = [("text", record), (record,), (replace(record, value=0.6), "text")]
    assert len({known, *(fingerprint_of(*inputs) for inputs in others)}) == 4
