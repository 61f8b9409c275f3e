"""PASCAL VOC's own tree through stages 1 and 2: prepared, learnt from, labelled, scored."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from eps import build_data
from eps.cli import call, compose
from eps.data.artifacts import read_json, read_mask, write_mask
from eps.data.class_names import VOC
from eps.data.layout import DatasetFolder
from stages import stage1, stage2

pytestmark = pytest.mark.slow

NAMES = {"train": "train", "boat": "boat", "car": "car", "plane": "aeroplane", "tree": "pottedplant"}


@pytest.fixture(scope="module")
def own(dataset: Path) -> DatasetFolder:
    return DatasetFolder.open(dataset)


@pytest.fixture(scope="module")
def devkit(own: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenes of the embedded benchmark as a VOC devkit, the last of them in SBD's list and masks alone."""
    root = tmp_path_factory.mktemp("devkit")
    voc = root / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SALImages", "SegmentationObject"):
        shutil.copytree(own.root / name, voc / name)
    (voc / "Annotations").mkdir()
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    lists = {"train": own.ids("train")[:-1], "val": own.ids("val"), "train_aug": own.ids("train")}
    for split, ids in lists.items():
        lines = "".join(
            f"/JPEGImages/{i}.jpg /SegmentationClassAug/{i}.png\n" if "aug" in split else f"{i}\n" for i in ids
        )
        (voc / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(lines)
    value = np.array([0, *(VOC.index(NAMES[name]) + 1 for name in own.classes)], dtype=np.uint8)
    for photo in (*lists["train_aug"], *lists["val"]):
        objects = "".join(f"<object><name>{NAMES[tag]}</name></object>" for tag in own.labels[photo])
        (voc / "Annotations" / f"{photo}.xml").write_text(f"<annotation>{objects}</annotation>")
        folder = "SegmentationClassAug" if photo == lists["train_aug"][-1] else "SegmentationClass"
        write_mask(voc / folder / f"{photo}.png", value[read_mask(own.root / "SegmentationClass" / f"{photo}.png")])
    return root


def settings(devkit: Path, run: Path) -> tuple[str, ...]:
    place = (f"data.root={devkit}", f"data.index={devkit}/index", f"run_dir={run}")
    return ("experiment=tiny", "data=voc12", "data.train=train_aug", *place)


def test_stages_1_and_2(devkit: Path, own: DatasetFolder, tmp_path: Path) -> None:
    call(stage1.run, *settings(devkit, tmp_path))
    assert (devkit / "index" / "index.json").is_file()
    call(stage2.run, *settings(devkit, tmp_path))
    instances = read_json(tmp_path / "pseudo_masks" / "instances.json")
    assert [category["name"] for category in instances["categories"]] == list(VOC)
    assert [image["file_name"] for image in instances["images"]] == own.ids("train")
    for photo in own.ids("train"):
        allowed = {0, 255, *(VOC.index(NAMES[tag]) + 1 for tag in own.labels[photo])}
        assert set(np.unique(read_mask(tmp_path / "pseudo_masks" / "masks" / f"{photo}.png")).tolist()) <= allowed
    scores = read_json(tmp_path / "evaluation" / "pseudo_masks.json")["splits"]["train_aug"]
    assert set(scores["per_class"]) == {"background", *VOC}


def test_it_is_the_same_as_our_layout(devkit: Path, own: DatasetFolder, tmp_path: Path) -> None:
    """What training reads is the same in both forms: photos, saliency, tags."""
    for name in ("JPEGImages", "SALImages", "ImageSets"):
        shutil.copytree(own.root / name, tmp_path / name)
    labels = {photo: sorted((NAMES[tag] for tag in tags), key=VOC.index) for photo, tags in own.labels.items()}
    (tmp_path / "image_labels.json").write_text(json.dumps({"classes": VOC, "labels": labels}))
    ids = own.ids("train")
    ours = DatasetFolder.open(tmp_path).fingerprint(ids, with_saliency=True)
    theirs = build_data.dataset(compose(*settings(devkit, tmp_path)).data)
    assert theirs.ids("train_aug") == ids
    assert theirs.fingerprint(ids, with_saliency=True) == ours
