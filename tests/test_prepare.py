"""Every form of dataset through `eps.prepare`, and what the other verbs then read."""

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from eps import build_data, prepare
from eps.cli import call, compose
from eps.data import coco, sbd, voc
from eps.data.artifacts import write_json, write_mask
from eps.data.class_names import VOC
from eps.data.layout import DatasetFolder
from eps.errors import UserError
from eps.schema import Config

PHOTOS = ("p1", "p4", "p7")
SIZE = (8, 6)


class Tree(NamedTuple):
    """A dataset of three photos of 8 x 6: p1 and p4 to learn from, p7 to score on."""

    root: Path
    settings: tuple[str, ...]
    tags: dict[str, tuple[str, ...]]
    saliency: Path
    photo: Path
    """The file of p4."""
    source: Path
    """One of the files that tags come from."""


def picture(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 60)).save(path)
    return path


def maps(root: Path) -> Path:
    for photo in PHOTOS[:2]:
        picture(root / "SALImages" / f"{photo}.png")
    return root / "SALImages"


def lists(root: Path, **splits: str) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for split, text in splits.items():
        (folder / f"{split}.txt").write_text(text)


def own(root: Path) -> Tree:
    tags = {"p1": ("cat",), "p4": ("cat", "dog"), "p7": ()}
    lists(root, train="p1\np4\n", val="p7\n")
    write_json(root / "image_labels.json", {"classes": ["cat", "dog"], "labels": tags})
    for photo in PHOTOS:
        picture(root / "JPEGImages" / f"{photo}.jPg")
        write_mask(root / "SegmentationClass" / f"{photo}.png", np.zeros(SIZE[::-1], dtype=np.uint8))
    return Tree(root, ("data=folder",), tags, maps(root), root / "JPEGImages/p4.jPg", root / "image_labels.json")


def voc_photos(root: Path) -> Path:
    folder = root / "VOCdevkit" / "VOC2012"
    lists(folder, train="p1\n", val="p7\n", train_aug="/JPEGImages/p1.jpg /S/p1.png\n/JPEGImages/p4.jpg /S/p4.png\n")
    for photo in PHOTOS:
        picture(folder / "JPEGImages" / f"{photo}.jpg")
    for photo, name in (("p1", "SegmentationClass"), ("p4", "SegmentationClassAug"), ("p7", "SegmentationClass")):
        write_mask(folder / name / f"{photo}.png", np.full(SIZE[::-1], 8, dtype=np.uint8))
    return folder


def voc_xml(root: Path) -> Tree:
    folder = voc_photos(root)
    tags = {"p1": ("cat",), "p4": ("aeroplane", "dog"), "p7": ()}
    for photo, names in tags.items():
        objects = "".join(f"<object><name>{name}</name></object>" for name in names)
        path = folder / "Annotations" / f"{photo}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<annotation>{objects}</annotation>")
    return Tree(
        root,
        ("data=voc12", "data.train=train_aug"),
        tags,
        maps(folder),
        folder / "JPEGImages/p4.jpg",
        folder / "Annotations/p4.xml",
    )


def voc_npy(root: Path) -> Tree:
    folder = voc_photos(root)
    tags = {"p1": ("cat",), "p4": ("aeroplane", "dog"), "p7": ()}
    np.save(folder / "cls_labels.npy", {p: np.isin(VOC, names).astype(np.float32) for p, names in tags.items()})  # type: ignore[arg-type]
    settings = ("data=voc12", "data.train=train_aug", "data.tags=cls_labels.npy")
    return Tree(root, settings, tags, maps(folder), folder / "JPEGImages/p4.jpg", folder / "cls_labels.npy")


def coco_year(root: Path, year: int) -> Tree:
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    images = [{"id": i, "file_name": f"{photo}.jpg", "height": 6, "width": 8} for i, photo in enumerate(PHOTOS)]
    annotations = [
        {"id": i, "image_id": image, "category_id": c, "iscrowd": 0, "segmentation": [[0, 0, 8, 0, 8, 6, 0, 6]]}
        for i, (image, c) in enumerate([(0, 18), (1, 18), (1, 1)])
    ]
    for split, chosen, found in (("train", images[:2], annotations), ("val", images[2:], [])):
        path = root / "annotations" / f"instances_{split}{year}.json"
        write_json(path, {"images": chosen, "annotations": found, "categories": categories})
        for image in chosen:
            picture(root / f"{split}{year}" / str(image["file_name"]))
    tags = {"p1": ("dog",), "p4": ("person", "dog"), "p7": ()}
    source = root / "annotations" / f"instances_train{year}.json"
    return Tree(root, (f"data=coco{year % 100}",), tags, maps(root), root / f"train{year}/p4.jpg", source)


def coco14(root: Path) -> Tree:
    return coco_year(root, 2014)


def coco17(root: Path) -> Tree:
    return coco_year(root, 2017)


def photos(root: Path) -> Tree:
    """By their hashes p7 is put aside at 0.1, p1 and p4 are not."""
    for photo in PHOTOS:
        picture(root / f"{photo}.JPG")
    (root / "labels.csv").write_text("file,label\np1.jpg,cat\np4.jpg,cat;dog\np7.jpg,\n")
    tags = {"p1": ("cat",), "p4": ("cat", "dog"), "p7": ()}
    return Tree(root, ("data=photos", "data.val_share=0.1"), tags, maps(root), root / "p4.JPG", root / "labels.csv")


def own_coco(root: Path) -> Tree:
    """Two json files of their own names, photos in one folder."""
    made = coco_year(root, 2017)
    for split, name in (("train", "instances_train"), ("val", "val")):
        (root / "annotations" / f"instances_{split}2017.json").rename(root / "annotations" / f"{name}.json")
    (root / "val2017" / "p7.jpg").rename(root / "train2017" / "p7.jpg")
    (root / "train2017").rename(root / "images")
    source = root / "annotations" / "instances_train.json"
    return made._replace(settings=("data=coco",), photo=root / "images/p4.jpg", source=source)


def write_objects(root: Path, photo: str, names: tuple[str, ...], size: tuple[int, int] = SIZE) -> None:
    """SBD's two files of a photo: each object a column."""
    numbers = np.zeros(size[::-1], dtype=np.uint8)
    numbers[:, : len(names)] = range(1, len(names) + 1)
    classes = np.array([VOC.index(name) + 1 for name in names], dtype=np.uint8).reshape(-1, 1)
    values = np.concatenate([[0], classes.ravel()]).astype(np.uint8)[numbers]
    savemat(root / "cls" / f"{photo}.mat", {"GTcls": {"Segmentation": values}})
    savemat(root / "inst" / f"{photo}.mat", {"GTinst": {"Segmentation": numbers, "Categories": classes}})


def sbd_files(root: Path) -> Tree:
    tags = {"p1": ("cat",), "p4": ("aeroplane", "dog"), "p7": ()}
    for name in ("cls", "inst"):
        (root / name).mkdir()
    for photo, names in tags.items():
        write_objects(root, photo, names)
        picture(root / "img" / f"{photo}.jpg")
    (root / "train.txt").write_text("p1\np4\n")
    (root / "val.txt").write_text("p7\n")
    return Tree(root, ("data=sbd",), tags, maps(root), root / "img/p4.jpg", root / "cls/p4.mat")


FORMS = (own, voc_xml, voc_npy, coco14, coco17, own_coco, sbd_files, photos)
INDEXED = (voc_xml, voc_npy, coco14, coco17, own_coco, sbd_files)


@pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.chdir(tmp_path)  # the index goes to runs/
    root = tmp_path / "set"
    root.mkdir()
    made: Tree = request.param(root)
    return made


@cache
def composed(*settings: str) -> Config:
    return compose("data.root=set", *settings)


def config(tree: Tree, **changes: Any) -> Config:
    """The config of a dataset; composing takes longer than all else here."""
    cfg = composed(*tree.settings)
    return replace(cfg, data=replace(cfg.data, root=str(tree.root), **changes))


def run(tree: Tree, **changes: Any) -> None:
    prepare.run(config(tree, **changes))


def refusal(tree: Tree, **changes: Any) -> str:
    """The one line, and below it all faults as the file has them."""
    with pytest.raises(UserError) as refused:
        run(tree, **changes)
    assert "\n" not in str(refused.value)
    return "\n".join([str(refused.value), *(path.read_text() for path in records("faults.txt"))])


def records(name: str) -> list[Path]:
    return sorted(Path("runs/data").glob(f"*/{name}"))


def test_every_form_is_read(tree: Tree) -> None:
    run(tree, check_truth=True)
    cfg = config(tree)
    folder = build_data.dataset(cfg.data)
    assert (folder.ids(cfg.data.train), folder.ids("val")) == (["p1", "p4"], ["p7"])
    assert {photo: folder.labels[photo] for photo in PHOTOS} == tree.tags
    for photo in PHOTOS:
        assert [name for name, there in zip(folder.classes, folder.tags(photo), strict=True) if there] == list(
            tree.tags[photo]
        )
        assert folder.photo(photo).size == SIZE
    assert folder.saliency_path("p1").parent == tree.saliency
    assert records("faults.txt") == []


def test_truth_of_every_form(tree: Tree) -> None:
    truth = build_data.truth(config(tree).data)
    known = tree.settings[0] != "data=photos"
    assert truth.covers(PHOTOS) == known
    if known:
        assert truth.semantic("p4").shape == SIZE[::-1]
        assert len(truth("p4").classes) == {"data=folder": 0, "data=voc12": 1}.get(tree.settings[0], 2)


def test_saliency_elsewhere(tree: Tree, tmp_path: Path) -> None:
    tree.saliency.rename(tree.saliency.with_name("maps"))
    assert "2 of 2 photos have no saliency map" in refusal(tree)
    run(tree, saliency="maps")
    (tree.saliency.with_name("maps")).rename(tmp_path / "maps of mine")
    run(tree, saliency=str(tmp_path / "maps of mine"))


def test_all_faults_at_once(tree: Tree) -> None:
    tree.photo.write_bytes(b"no photo")
    picture(tree.saliency / "p1.png", (7, 6))
    found = refusal(tree)
    assert "2 faults; all of them are in" in found
    assert f"{tree.photo} cannot be read" in found
    assert "p1.png is 7x6, its photo 8x6" in found
    [told] = records("faults.txt")
    assert len(told.read_text().splitlines()) == 2
    picture(tree.photo)
    picture(tree.saliency / "p1.png")
    run(tree)
    assert not told.exists()


def test_missing_photo(tree: Tree) -> None:
    tree.photo.unlink()
    reason = "is not in the folder" if tree.settings[0] == "data=photos" else "no photo of that id"
    assert reason in refusal(tree)


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the photos that are opened from here on."""
    names: list[str] = []
    honest = DatasetFolder.photo

    def photo(folder: DatasetFolder, photo: str) -> Image.Image:
        names.append(photo)
        return honest(folder, photo)

    monkeypatch.setattr(DatasetFolder, "photo", photo)
    return names


def test_what_has_not_changed_is_not_checked_again(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    names = opened(monkeypatch)
    run(tree)
    assert sorted(names) == ["p1", "p4", "p7"]
    run(tree)
    assert len(names) == 3
    run(tree, check_truth=True)
    assert len(names) == 6
    os.utime(tree.photo, ns=(0, 0))
    run(tree)
    assert sorted(names[6:]) == ["p1", "p4"]
    (tree.saliency / "p4.png").write_bytes(b"")
    assert "p4.png cannot be read" in refusal(tree)


@pytest.mark.parametrize("tree", [own, voc_xml, voc_npy, sbd_files, photos], indirect=True)
def test_wrong_truth_is_a_fault_only_if_asked_for(tree: Tree) -> None:
    if tree.settings[0] == "data=photos":
        write_mask(tree.root / "SegmentationClass/p4.png", np.zeros((3, 3), dtype=np.uint8))
    elif tree.settings[0] == "data=sbd":
        write_objects(tree.root, "p4", ("aeroplane", "dog"), size=(7, 6))
    else:
        [path] = tree.saliency.parent.glob("SegmentationClass*/p4.png")
        write_mask(path, np.full(SIZE[::-1], 77, dtype=np.uint8))
    run(tree)
    reason = "there are" if tree.settings[0] in ("data=folder", "data=voc12") else "the photo (6, 8)"
    assert reason in refusal(tree, check_truth=True)


@pytest.mark.parametrize("tree", [voc_xml, coco14, own_coco], indirect=True)
def test_a_wrong_size_of_an_annotation_is_a_fault(tree: Tree) -> None:
    """Also where nothing but the annotation has changed since the last check."""
    run(tree)
    if tree.source.suffix == ".xml":
        path = tree.source.with_name("p4.xml")
        size = "<size><width>7</width><height>6</height></size>"
        path.write_text(path.read_text().replace("<object>", f"{size}<object>", 1))
    else:
        content = json.loads(tree.source.read_text())
        content["images"][1]["width"] = 7
        write_json(tree.source, content)
    for _ in range(2):
        found = refusal(tree)
        assert "1 fault: " in found
        assert f"{tree.photo} is 8x6, its annotation says 7x6; mend one" in found


@pytest.mark.parametrize("tree", [voc_xml, photos], indirect=True)
def test_photos_with_a_fault_in_a_list_are_opened_all_the_same(tree: Tree) -> None:
    if tree.settings[0] == "data=photos":
        tree.source.write_text(tree.source.read_text() + "p4.JPG,cat\n")
    else:
        (tree.saliency.parent / "ImageSets/Segmentation/train_aug.txt").write_text("p1\np4\np4\n")
    picture(tree.saliency / "p4.png", (7, 6))
    found = refusal(tree)
    assert "2 faults; all of them are in" in found
    assert "more than once" in found or "has the id of line" in found
    assert found.count("p4.png is 7x6, its photo 8x6") == 1


@pytest.mark.parametrize("tree", INDEXED, indirect=True, ids=lambda form: form.__name__)
def test_the_index_is_read_instead_of_the_sources(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(tree)
    before = build_data.dataset(cfg.data)
    assert records("index.json") == []  # other verbs keep none
    run(tree)
    assert len(records("index.json")) == 1

    def fail(*_: object, **__: object) -> None:
        pytest.fail("read again")

    for module, name in (
        (voc, "read_xml"),
        (voc, "read_cls_labels"),
        (coco, "read_coco"),
        (sbd, "read_segmentation"),
    ):
        monkeypatch.setattr(module, name, fail)
    after = build_data.dataset(cfg.data)
    assert after.ids("val") == before.ids("val")
    assert after.classes == before.classes
    assert {photo: after.labels[photo] for photo in PHOTOS} == tree.tags
    ids = after.ids(cfg.data.train)
    assert after.fingerprint(ids, with_saliency=True) == before.fingerprint(ids, with_saliency=True)


@pytest.mark.parametrize("tree", INDEXED, indirect=True, ids=lambda form: form.__name__)
def test_a_stale_index_is_not_used(tree: Tree) -> None:
    run(tree)
    if tree.source.suffix == ".xml":
        tree.source.write_text("<annotation><object><name>horse</name></object></annotation>")
        expected = ("horse",)
    elif tree.source.suffix == ".mat":
        write_objects(tree.root, "p4", ("horse",))
        expected = ("horse",)
    elif tree.source.suffix == ".npy":
        np.save(tree.source, {p: np.isin(VOC, "horse").astype(np.float32) for p in PHOTOS})  # type: ignore[arg-type]
        expected = ("horse",)
    else:
        content = json.loads(tree.source.read_text())
        write_json(tree.source, content | {"annotations": content["annotations"][:2]})
        expected = ("dog",)
    assert build_data.dataset(config(tree).data).labels["p4"] == expected


@pytest.mark.parametrize("tree", [coco14], indirect=True)
@pytest.mark.parametrize("changes", [{"height": "abc"}, {"height": None}, {"id": [1]}, {"id": None, "file_name": 5}])
def test_odd_values_of_a_json_are_faults(tree: Tree, changes: dict[str, Any]) -> None:
    content = json.loads(tree.source.read_text())
    content["images"][0] |= changes
    write_json(tree.source, content)
    assert f"the {next(iter(changes))} of 1 image is n" in refusal(tree)


@pytest.mark.parametrize("tree", [coco14, coco17, own_coco], indirect=True)
def test_faults_of_annotations_are_told_before_anything_is_opened(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them together; once mended the json is not checked again until it changes."""
    content = json.loads(tree.source.read_text())
    good = content["annotations"]
    bad = [good[0] | {"id": 10, "category_id": 0}, good[0] | {"id": 11, "bbox": [0, 0, 80, 6]}]
    write_json(tree.source, content | {"annotations": [*good, *bad]})
    found = refusal(tree)
    assert "2 faults; all of them are in" in found
    assert "category_id 0, which no category has; ids of categories begin at 1 there, not at 0: 10" in found
    assert "a box outside its photo; boxes are x, y, width, height in pixels" in found
    assert ": 11 (p1.jpg)" in found
    assert len(records("faults.txt")[0].read_text().splitlines()) == 2
    write_json(tree.source, content | {"annotations": [*good, good[0] | {"id": 12, "segmentation": []}]})
    capsys.readouterr()
    run(tree)
    assert "a mask without a pixel, which is left out: 12 (p1.jpg)" in " ".join(capsys.readouterr().err.split())
    assert records("faults.txt") == []
    run(tree)
    assert "without a pixel" not in capsys.readouterr().err


@pytest.mark.parametrize("tree", [coco14, own_coco], indirect=True)
def test_faults_of_annotations_and_photos_are_told_together(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """One a line, also where the json contradicts itself so that no dataset can be made of it."""
    content = json.loads(tree.source.read_text())
    bad = content["annotations"][0] | {"id": 10, "category_id": 0}
    write_json(tree.source, content | {"annotations": [*content["annotations"], bad]})
    tree.photo.unlink()
    (tree.photo.with_name("p1.jpg")).write_bytes(b"no photo")
    assert "3 faults; all of them are in" in refusal(tree)
    told = capsys.readouterr().err.splitlines()
    for fault in ("category_id 0, which no category has", "no photo of that id", "p1.jpg cannot be read as an image"):
        assert sum(fault in line for line in told) == 1


@pytest.mark.parametrize("tree", [own_coco], indirect=True)
def test_many_faults_are_told_in_part(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(tree.source.read_text())
    images = [{"id": n, "file_name": f"gone{n}.jpg", "height": 6, "width": 8} for n in range(10, 40)]
    write_json(tree.source, content | {"images": content["images"] + images})
    found = refusal(tree, on_error="raise")
    assert " faults (" in found.splitlines()[0]
    assert len(found.splitlines()) > 30
    assert sum("gone" in line for line in capsys.readouterr().err.splitlines()) == 20


@pytest.mark.parametrize("tree", [coco14, own], indirect=True)
def test_what_there_is_is_told(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    run(tree)
    told = capsys.readouterr().err
    assert "photos: 2 in train, 1 in val; 2 classes: " in told
    assert "; no faults" in told
    if tree.settings == ("data=coco14",):
        assert "2 photos, 3 objects; ids of categories: 1 person, 18 dog" in told


def test_one_json_is_split_by_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree = own_coco(tmp_path / "set")
    content = json.loads(tree.source.read_text())
    images = [{"id": n, "file_name": f"{n:03}.jpg", "height": 6, "width": 8} for n in range(60)]
    write_json(tree.root / "all.json", content | {"images": images})
    settings = {"tags": "all.json", "truth": "all.json"}
    found = build_data.dataset(config(tree, **settings).data)
    train, val = found.ids("train"), found.ids("val")
    assert 0 < len(val) < 15
    assert sorted(train + val) == [f"{n:03}" for n in range(60)]
    assert build_data.truth(config(tree, **settings).data).covers(train + val)
    assert not build_data.dataset(config(tree, val_share=0.0, **settings).data).has_split("val")
    with pytest.raises(UserError, match="is no json, and no folder of them"):
        build_data.dataset(config(tree, tags="none.json").data)


@pytest.mark.parametrize("tree", [voc_xml], indirect=True)
def test_a_new_list_is_found(tree: Tree) -> None:
    run(tree)
    (tree.saliency.parent / "ImageSets/Segmentation/few.txt").write_text("p1\n")
    assert build_data.dataset(config(tree).data).ids("few") == ["p1"]


@pytest.mark.parametrize("tree", [voc_xml], indirect=True)
def test_every_photo_without_annotation_is_told(tree: Tree) -> None:
    for path in tree.source.parent.iterdir():
        path.unlink()
    found = refusal(tree)
    assert "3 faults; all of them are in" in found
    assert [f"{photo}.xml is missing" in found for photo in PHOTOS] == [True] * 3


@pytest.mark.parametrize("tree", [voc_xml], indirect=True)
def test_missing_train_aug(tree: Tree) -> None:
    (tree.saliency.parent / "ImageSets/Segmentation/train_aug.txt").unlink()
    assert "train_aug.txt is missing (SBD's list" in refusal(tree)
    run(tree, train="train")


@pytest.mark.parametrize("tree", [voc_xml], indirect=True)
def test_index_where_it_is_wanted(tree: Tree, tmp_path: Path) -> None:
    run(tree, index=str(tmp_path / "here"))
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["checked.json", "index.json"]
    assert not Path("runs").exists()


@pytest.mark.parametrize("tree", [photos], indirect=True)
def test_photos_that_are_left_out_are_counted(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tree.root / "p9.jpg")
    run(tree)
    assert "labels.csv: 1 photos of the folder are not in it and are left out" in capsys.readouterr().err


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fetched = []

    def fetch(url: str, target: Path, **_: object) -> None:
        fetched.append(url)
        voc_xml(target.parents[1])

    monkeypatch.setattr(voc, "fetch_folder", fetch)
    for _ in range(2):
        call(prepare.run, "data=voc12", "data.download=true", "data.train=train")
    assert len(fetched) == 1
    assert build_data.dataset(compose("data=voc12").data).ids("train") == ["p1"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("data=voc12", "data.val_share=0.1"), r"data\.val_share=0\.1: only data=photos"),
        (("data=coco14", "data.difficult=false"), r"data\.difficult=False: only data=voc12"),
        (("data=railroad", "data.download=true"), r"data\.download=True: only data=voc12"),
        (("data=photos", "data.val_share=1"), r"data\.val_share=1\.0: must be 0 or more, and less than 1"),
        (("data=photos", "data.classes=[cat,cat]"), r"data\.classes=.*must be names, each of them once"),
        (("data=photos", "data.tags=''"), r"data\.tags=: must not be empty"),
    ],
)
def test_settings_that_make_no_sense(settings: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        compose("data.root=set", *settings)
