"""`eps.export` with format=coco, yolo and voc: what is written is what other tools, and we, read again."""

import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import eps
from eps import convert, export, predict, prepare, train_cls, train_seg
from eps.cli import call
from eps.data.artifacts import LabelledInstance, read_json, read_mask, write_instances, write_json, write_mask
from eps.data.coco_truth import CocoTruth
from eps.data.images import read_image_size
from eps.data.layout import DatasetFolder
from eps.data.mask_sources import PseudoMasks
from eps.data.samples import PhotoMasks
from eps.errors import UserError
from eps.ops.instances import split_instances

pytestmark = pytest.mark.slow

Objects = list[tuple[int, bool, bytes]]


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose pseudo-masks are the true ones: there is much in them. One object is uncertain."""
    folder = DatasetFolder.open(dataset)
    target = tmp_path_factory.mktemp("labelled") / "run" / "pseudo_masks"
    instances, sizes = {}, {}
    for photo in folder.ids("train"):
        labels = read_mask(dataset / "SegmentationClass" / f"{photo}.png")
        write_mask(target / "masks" / f"{photo}.png", labels)
        found = split_instances(labels, min_area=4)
        instances[photo] = [
            LabelledInstance(class_index=one.class_index, mask=one.mask, uncertain=not instances and not i)
            for i, one in enumerate(found)
        ]
        sizes[photo] = labels.shape
    write_instances(target / "instances.json", instances, sizes=sizes, classes=folder.classes)
    write_json(target / "manifest.json", {})
    return target.parent


def exported(run: Path, dataset: Path, *overrides: str) -> Path:
    return call(export.run, "experiment=tiny", f"data.root={dataset}", f"run_dir={run}", *overrides).path


def objects(found: PhotoMasks) -> Objects:
    every = zip(found.classes.tolist(), found.uncertain.tolist(), found.masks, strict=True)
    return sorted((index, crowd, mask.tobytes()) for index, crowd, mask in every)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / max((one | other).sum(), 1)


def test_coco_gives_back_the_masks(run: Path, dataset: Path, tmp_path: Path) -> None:
    """Pseudo-masks, to COCO's json, to what stage 3 learns from: object by object and pixel by pixel."""
    out = exported(run, dataset, "format=coco")
    masks, truth = PseudoMasks(run / "pseudo_masks"), CocoTruth((out / "instances.json",))
    photos = DatasetFolder.open(dataset).ids("train")
    assert sum(len(masks(photo).classes) for photo in photos) > 10
    for photo in photos:
        assert objects(truth(photo)) == objects(masks(photo))
        np.testing.assert_array_equal(truth(photo).semantic > 0, masks(photo).masks.any(axis=0))
    with redirect_stdout(StringIO()):
        loaded = COCO(out / "instances.json")
    assert sum(annotation["iscrowd"] for annotation in loaded.dataset["annotations"]) == 1
    for image in loaded.dataset["images"]:  # what FiftyOne's importer joins with its data_path
        assert read_image_size(out / "JPEGImages" / image["file_name"]) == (image["width"], image["height"])


def test_training_goes_on_from_a_corrected_json(run: Path, dataset: Path, tmp_path: Path) -> None:
    """As docs/LABELS.md has it: from stage 1 of the run, beside the segmenter that is there."""
    own_run, out = tmp_path / "run", tmp_path / "coco"
    shutil.copytree(exported(run, dataset, "format=coco"), out)
    call(train_cls.run, "experiment=tiny", f"data.root={dataset}", f"run_dir={own_run}")
    data = ("experiment=tiny", "data=coco", f"data.root={out}", f"data.index={tmp_path / 'index'}")
    back = (*data, "segmenter.supervision=truth", f"run_dir={own_run}")
    call(train_seg.run, *back, "data.tags=instances.json", f"out_dir={own_run}/first")
    content = read_json(out / "instances.json")
    del content["annotations"][-1]  # as somebody would take a wrong one away
    write_json(out / "corrected.json", content)
    corrected = (*back, "data.tags=corrected.json", f"out_dir={own_run}/second")
    call(prepare.run, *corrected, "classifier=cam")
    call(train_seg.run, *corrected)
    first, second = (read_json(own_run / name / "segmenter" / "manifest.json") for name in ("first", "second"))
    assert first["inputs"]["masks"] != second["inputs"]["masks"]
    assert first["inputs"]["classifier/model.safetensors"] == second["inputs"]["classifier/model.safetensors"]


@pytest.mark.parametrize("name", ["corrected.json", "instances.json"])
def test_corrections_are_not_written_over(run: Path, dataset: Path, tmp_path: Path, name: str) -> None:
    """Neither with other settings nor, where the file was changed in its place, with the same."""
    out = exported(run, dataset, "format=coco", f"out_dir={tmp_path}")
    (out / "labels.cache").touch()
    assert exported(run, dataset, "format=coco", f"out_dir={tmp_path}", "export.val_share=0") == out
    (out / name).write_text('{"mine": true}')
    with pytest.raises(UserError, match=rf"export/coco would be replaced, but has files that are .*: {name}; move it"):
        exported(run, dataset, "format=coco", f"out_dir={tmp_path}")
    assert read_json(out / name) == {"mine": True}


def test_polygons_are_near_the_masks(run: Path, dataset: Path) -> None:
    out = exported(run, dataset, "format=coco", "export.outlines=polygons")
    content = read_json(out / "instances.json")
    outlined = [one for one in content["annotations"] if not one["iscrowd"]]
    assert all(isinstance(one["segmentation"], list) for one in outlined)
    truth, masks = CocoTruth((out / "instances.json",)), PseudoMasks(run / "pseudo_masks")
    ious = []
    for photo in DatasetFolder.open(dataset).ids("train"):
        of = {True: truth(photo).masks, False: masks(photo).masks}
        for mask in of[False]:
            if mask.sum() > 60:
                ious.append(max(iou(mask, other) for other in of[True]))
    assert len(ious) > 5
    assert min(ious) > 0.8
    assert np.mean(ious) > 0.9


def test_yolo(run: Path, dataset: Path) -> None:
    out = exported(run, dataset, "format=yolo", "export.val_share=0.3")
    told, folder = yaml.safe_load((out / "data.yaml").read_text()), DatasetFolder.open(dataset)
    assert list(told["names"].values()) == list(folder.classes)
    assert (told["train"], told["val"]) == ("images/train", "images/val")
    masks, found = PseudoMasks(run / "pseudo_masks"), {}
    for split in ("train", "val"):
        images = {path.stem: path for path in (out / "images" / split).iterdir()}
        assert {path.stem for path in (out / "labels" / split).glob("*.txt")} == images.keys()
        assert images
        found |= {photo: out / "labels" / split / f"{photo}.txt" for photo in images}
    assert sorted(found) == sorted(folder.ids("train"))
    for photo, path in found.items():
        held = masks(photo)
        lines = path.read_text().splitlines()
        assert len(lines) == len(held.classes)
        for line, index, mask in zip(lines, held.classes, held.masks, strict=True):
            number, *corners = line.split()
            assert int(number) == index
            shares = np.array(corners, dtype=float)
            assert shares.min() >= 0
            assert shares.max() <= 1
            size = mask.shape
            ring = (shares.reshape(-1, 2) * size[::-1]).ravel().tolist()
            drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([ring], *size))).astype(bool)
            assert mask.sum() < 60 or iou(drawn, mask) > 0.8
    everything = exported(run, dataset, "format=yolo", "export.val_share=0")
    assert yaml.safe_load((everything / "data.yaml").read_text())["val"] == "images/train"


def test_voc_is_read_by_folder_and_by_convert(run: Path, dataset: Path, tmp_path: Path) -> None:
    out = exported(run, dataset, "format=voc")
    masks = PseudoMasks(run / "pseudo_masks")
    again = DatasetFolder.open(out)
    ids = DatasetFolder.open(dataset).ids("train")
    assert sorted(again.labels) == sorted(ids)
    assert set(again.ids("train")) | set(again.splits.get("val", ())) == set(ids)
    for photo in ids:
        np.testing.assert_array_equal(read_mask(out / "SegmentationClass" / f"{photo}.png"), masks.semantic(photo))
    made = call(
        convert.run,
        *("experiment=tiny", "convert=voc_xml", "convert.masks=SegmentationObject", f"run_dir={tmp_path / 'run'}"),
        *(f"source={out}", f"convert.out={tmp_path / 'coco'}"),
    ).path
    truth = CocoTruth((made / "instances.json",))
    classes = [one["name"] for one in read_json(made / "instances.json")["categories"]]
    known = list(again.classes)
    for photo in ids:
        found = truth(photo)
        named = found._replace(classes=np.array([known.index(classes[c]) for c in found.classes], dtype=np.int64))
        assert objects(named) == objects(masks(photo))


def test_predictions(segmenter_run: Path, dataset: Path, tmp_path: Path) -> None:
    """What a segmenter is fairly sure of, in photos of any kind; the same again is not made again."""
    photos, run = tmp_path / "photos", tmp_path / "run"
    (photos / "more").mkdir(parents=True)
    shutil.copytree(segmenter_run / "segmenter", run / "segmenter")
    for name in ("one.jpg", "more/two.jpg"):
        shutil.copy(dataset / "JPEGImages" / "val_00000.jpg", photos / name)
    asked = ("format=coco", "export.labels=predictions", f"source={photos}", "predict.score_threshold=0.2")
    out = exported(run, dataset, *asked)
    content = read_json(out / "instances.json")
    assert sorted(image["file_name"] for image in content["images"]) == ["more/two.jpg", "one.jpg"]
    segmenter = eps.load(run / "segmenter")
    segmenter.score_threshold = segmenter.least_score = 0.2
    segmenter.max_detections = 50
    found = segmenter.predict(photos / "one.jpg")
    number = next(image["id"] for image in content["images"] if image["file_name"] == "one.jpg")
    own = [one for one in content["annotations"] if one["image_id"] == number]
    kept = [i for i, mask in enumerate(found.masks) if mask.any()]
    assert kept
    assert [one["score"] for one in own] == pytest.approx(found.scores[kept].tolist(), abs=1e-5)
    assert [one["category_id"] - 1 for one in own] == found.classes[kept].tolist()
    for one, i in zip(own, kept, strict=True):
        np.testing.assert_array_equal(coco_mask.decode(one["segmentation"]).astype(bool), found.masks[i])
    before = (out / "manifest.json").stat().st_mtime_ns
    assert exported(run, dataset, *asked) == out
    assert (out / "manifest.json").stat().st_mtime_ns == before
    exported(run, dataset, *asked, "predict.score_threshold=0.3")
    assert (out / "manifest.json").stat().st_mtime_ns != before
    painted = exported(run, dataset, *asked, "format=voc")
    labels = read_mask(painted / "SegmentationObject" / "more" / "two.png")
    assert set(np.unique(labels)) <= set(range(len(kept) + 1))
    assert labels.any()


def test_what_is_refused(run: Path, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"masks: coco, yolo or voc"):
        exported(run, dataset, "format=png")
    with pytest.raises(UserError, match="run stage 2 first"):
        exported(tmp_path, dataset, "format=yolo")
    with pytest.raises(UserError, match=r"source=clip\.mp4: format=yolo is of photos"):
        exported(run, dataset, "format=yolo", "export.labels=predictions", "source=clip.mp4", f"model={tmp_path}")
    with pytest.raises(UserError, match=r"eps\.export export\.labels=predictions"):
        call(predict.run, "experiment=tiny", f"data.root={dataset}", "format=yolo")
    with pytest.raises(UserError, match=r"export\.val_share"):
        exported(run, dataset, "format=yolo", "export.val_share=1")
