"""Mistakes: one line that names what is wrong and what to do, exit code 2, and nothing half-written."""

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eps import evaluate, predict, prepare, pseudo_masks, train_cls, train_seg
from eps.data.artifacts import read_json, write_json, write_mask, write_scores
from eps.data.railroad import CLASSES
from stages import stage1, stage2, stage3

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str]]
PHOTO = "train_00003"
SKIP = ("data.on_error=skip",)
REPOSITORY = Path(__file__).parents[2]


class Place:
    """A dataset and a run to break things in."""

    def __init__(self, command: Command, root: Path, run: Path) -> None:
        self.command, self.root, self.run = command, root, run
        self.told = ""  # all that the last command has said

    def names(self) -> dict[str, int]:
        """Every file but the finished photos of an unfinished stage 2, which are kept on purpose."""
        files = {path.relative_to(self.run): path for path in self.run.rglob("*") if path.is_file()}
        return {str(n): path.stat().st_mtime_ns for n, path in files.items() if n.parts[0] != "pseudo_masks.resume"}

    def refuses(self, verb: ModuleType, *overrides: str) -> str:
        """The one line that the verb ends with."""
        before = self.names()
        settings = ("experiment=tiny", "data=folder", f"data.root={self.root}", f"run_dir={self.run}", *overrides)
        code, text = self.command(verb.main, *settings)
        self.told = text
        assert code == 2, text
        line = text.strip().split("\n")[-1]
        assert line.startswith("error: ")
        assert "Traceback" not in text
        assert self.names() == before
        return line

    def change_tags(self, **changes: Any) -> None:
        path = self.root / "image_labels.json"
        write_json(path, read_json(path) | changes)


@pytest.fixture
def place(command: Command, own_dataset: Path, own_run: Path) -> Place:
    """All three stages are finished here."""
    return Place(command, own_dataset, own_run)


@pytest.fixture
def bare(command: Command, own_dataset: Path, tmp_path: Path) -> Place:
    """Nothing has been run here."""
    return Place(command, own_dataset, tmp_path / "bare run")


@pytest.mark.parametrize("verb", [stage1, evaluate])
def test_missing_dataset(bare: Place, verb: ModuleType) -> None:
    bare.root = bare.root / "nowhere"
    assert "nowhere: no such folder; give the folder that holds JPEGImages/" in bare.refuses(verb)
    assert not bare.run.exists()


def test_unknown_tag(bare: Place) -> None:
    bare.change_tags(labels={PHOTO: ["train", "rails"]})
    bare.refuses(stage1)
    assert f"photo '{PHOTO}' has the unknown tag 'rails'; known are {', '.join(CLASSES)}" in bare.told


def test_more_classes_than_a_mask_can_tell_apart(bare: Place) -> None:
    bare.change_tags(classes=[*CLASSES, *(f"class {number}" for number in range(255 - len(CLASSES)))])
    line = bare.refuses(prepare)
    assert f"{bare.root} has 255 classes, a mask can tell 254 apart: choose some of them, data.classes=[...]" in line
    settings = ("experiment=tiny", "data=folder", f"data.root={bare.root}", f"run_dir={bare.run}")
    assert bare.command(prepare.main, *settings, f"data.classes=[{','.join(CLASSES)}]")[0] == 0


def test_missing_split(bare: Place) -> None:
    assert "split 'training': " in bare.refuses(stage1, "data.train=training")


def test_missing_classifier(bare: Place) -> None:
    for verb in (stage2, pseudo_masks):
        line = bare.refuses(verb)
        assert "bare run/classifier/model.safetensors is missing: run the stage that trains it first" in line
        assert "eps stage1" in line
    assert not bare.run.exists()


def test_missing_pseudo_masks(bare: Place) -> None:
    for verb in (stage3, train_seg, evaluate):
        assert "bare run/pseudo_masks is missing: run stage 2 first (eps stage2)" in bare.refuses(verb)
    assert not bare.run.exists()


def test_pseudo_masks_of_other_photos(place: Place) -> None:
    shutil.rmtree(place.run / "segmenter")
    assert "has no pseudo-mask of photo 'val_0000" in place.refuses(train_seg, "data.train=val")


@pytest.mark.parametrize("name", ["manifest.json", "instances.json", f"masks/{PHOTO}.png"])
def test_incomplete_pseudo_masks(place: Place, name: str) -> None:
    shutil.rmtree(place.run / "segmenter")
    (place.run / "pseudo_masks" / name).unlink()
    assert f"pseudo_masks/{name} is missing" in place.refuses(train_seg, "segmenter.steps=3")


def test_missing_classifier_for_the_warm_start(place: Place) -> None:
    shutil.rmtree(place.run / "classifier")
    shutil.rmtree(place.run / "segmenter")
    assert "classifier/model.safetensors is missing" in place.refuses(train_seg)


def test_missing_segmenter(place: Place) -> None:
    shutil.rmtree(place.run / "segmenter")
    line = place.refuses(evaluate, "evaluate=segmenter")
    assert "segmenter/model.safetensors is missing" in line


@pytest.mark.parametrize(("verb", "content"), [(stage1, b""), (train_cls, b"\xff\xd8\xff\xe0 half a photo")])
def test_corrupt_photo(bare: Place, verb: ModuleType, content: bytes) -> None:
    (bare.root / "JPEGImages" / f"{PHOTO}.jpg").write_bytes(content)
    assert f"{PHOTO}.jpg cannot be read as an image" in bare.refuses(verb)


def test_corrupt_photo_in_another_process(bare: Place) -> None:
    (bare.root / "JPEGImages" / f"{PHOTO}.jpg").write_bytes(b"")
    line = bare.refuses(train_cls, "runtime.workers=1")
    assert f"{PHOTO}.jpg cannot be read as an image" in line
    assert len(line) < 300


def test_all_faults_at_once(bare: Place) -> None:
    (bare.root / "JPEGImages" / "train_00001.jpg").unlink()
    (bare.root / "JPEGImages" / "train_00002.jpg").write_bytes(b"")
    (bare.root / "SALImages" / "train_00004.png").unlink()
    Image.new("L", (63, 64)).save(bare.root / "SALImages" / "train_00005.png")
    assert "4 faults" in bare.refuses(prepare)
    for fault in ("train_00001: no photo", "train_00002.jpg cannot", "1 of 12 photos have no sal", "is 63x64"):
        assert fault in bare.told


def test_faults_of_every_split(bare: Place) -> None:
    for split in ("train", "val", "shift"):
        (bare.root / "JPEGImages" / f"{split}_00001.jpg").write_bytes(b"")
    (bare.root / "SALImages" / "val_00002.png").unlink(missing_ok=True)
    assert "3 faults" in bare.refuses(prepare, "data.also=[shift,none]")
    assert [split for split in ("train", "val", "shift") if f"{split}_00001.jpg cannot" not in bare.told] == []


def test_many_faults_are_not_all_told(bare: Place) -> None:
    ids = [f"none_{number}" for number in range(30)]
    bare.change_tags(labels={photo: [] for photo in ids})
    (bare.root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(ids))
    line = bare.refuses(prepare, "data.val=train", "data.also=[]", "classifier=cam")
    assert "30 faults (10 more than shown)" in line
    file = line.rpartition("all of them are in ")[2]
    assert "none_19" in bare.told
    assert "none_20" not in bare.told
    assert len(Path(file).read_text().splitlines()) == 30


@pytest.mark.parametrize("verb", [stage1, train_cls])
def test_saliency_of_another_size(bare: Place, verb: ModuleType) -> None:
    Image.new("L", (32, 64)).save(bare.root / "SALImages" / f"{PHOTO}.png")
    assert f"SALImages/{PHOTO}.png is 32x64, its photo 64x64; resize it" in bare.refuses(verb)


def test_missing_saliency(bare: Place) -> None:
    (bare.root / "SALImages" / f"{PHOTO}.png").unlink()
    told = bare.refuses(train_cls)
    assert "1 of 12 photos have no saliency map" in told
    assert f"({PHOTO}.png is missing)" in told


def test_threshold_without_saliency(place: Place) -> None:
    (place.root / "SALImages" / f"{PHOTO}.png").unlink()
    line = place.refuses(pseudo_masks)
    assert "pseudo_masks.threshold=auto needs a saliency map for every photo; set a number instead" in line
    assert not (place.run / "pseudo_masks.resume").exists()  # known before any work


def test_blank_saliency(place: Place) -> None:
    for path in (place.root / "SALImages").iterdir():
        Image.new("L", (64, 64)).save(path)
    assert "pseudo_masks.threshold=auto: no localization map meets a saliency map" in place.refuses(pseudo_masks)
    assert len(list((place.run / "pseudo_masks.resume" / "scores").iterdir())) == 12  # which a set threshold will use


@pytest.mark.parametrize(
    ("artifact", "verb", "override"),
    [
        ("classifier", pseudo_masks, "pseudo_masks.min_area=5"),
        ("classifier", train_seg, "segmenter.steps=3"),
        ("segmenter", evaluate, "evaluate=segmenter"),
    ],
)
def test_truncated_checkpoint(place: Place, artifact: str, verb: ModuleType, override: str) -> None:
    path = place.run / artifact / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert f"{artifact}/model.safetensors is not a checkpoint of ours" in place.refuses(verb, override)


def test_classifier_for_a_segmenter(place: Place) -> None:
    shutil.copy(place.run / "classifier/model.safetensors", place.run / "segmenter/model.safetensors")
    assert "holds a classifier, a segmenter is needed" in place.refuses(evaluate, "evaluate=segmenter")


@pytest.mark.parametrize(
    ("verb", "classes"), [(pseudo_masks, [*CLASSES, "unicorn"]), (train_seg, list(reversed(CLASSES)))]
)
def test_classifier_of_other_classes(place: Place, verb: ModuleType, classes: list[str]) -> None:
    place.change_tags(classes=classes)
    assert f"model.safetensors knows the classes {list(CLASSES)}" in place.refuses(verb)


def test_classifier_that_cannot_start_a_segmenter(place: Place) -> None:
    line = place.refuses(train_seg, "trunk.prototypes=4")
    assert "classifier/model.safetensors has another trunk than this config" in line
    settings = ("experiment=tiny", "data=folder", f"data.root={place.root}", f"run_dir={place.run}")
    assert place.command(train_cls.main, *settings, "classifier=cam")[0] == 0
    line = place.refuses(train_seg, "segmenter.steps=3")
    assert "is a CAM classifier: train one with classifier=eps, or set segmenter.warm_start=false" in line


def test_broken_state_to_resume_from(bare: Place) -> None:
    bare.run.mkdir()
    (bare.run / "classifier.resume.pt").write_bytes(b"half")
    assert "classifier.resume.pt is not readable: remove it to start training afresh" in bare.refuses(train_cls)


def test_evaluation_without_truth(place: Place) -> None:
    shutil.rmtree(place.root / "SegmentationClass")
    assert "SegmentationClass/train_00000.png is missing: evaluation and" in place.refuses(evaluate)


def test_truth_of_another_size(place: Place) -> None:
    for folder in ("SegmentationClass", "SegmentationObject"):
        with Image.open(place.root / folder / f"{PHOTO}.png") as image:
            image.resize((32, 32), Image.Resampling.NEAREST).save(place.root / folder / f"{PHOTO}.png")
    assert f"photo '{PHOTO}': prediction is (64, 64), truth (32, 32)" in place.refuses(evaluate)


def test_truth_of_other_classes(place: Place) -> None:
    path = place.root / "SegmentationClass" / f"{PHOTO}.png"
    with Image.open(path) as image:
        labels = image.point(lambda value: value and 20)
    write_mask(path, np.asarray(labels))
    assert f"photo '{PHOTO}': truth holds the label 20, neither in 0..5 nor 255" in place.refuses(evaluate)


def test_best_threshold_without_scores(place: Place) -> None:
    line = place.refuses(evaluate, "evaluate=thresholds")
    assert "run eps.pseudo_masks with pseudo_masks.save_scores=true" in line


def test_stored_maps_of_another_size(place: Place) -> None:
    for photo in sorted((place.run / "pseudo_masks" / "masks").iterdir()):
        write_scores(place.run / "pseudo_masks" / "scores" / f"{photo.stem}.npz", np.zeros((5, 32, 64), np.float32))
    line = place.refuses(evaluate, "evaluate=thresholds")
    assert ".npz has maps of (classes, height, width) (5, 32, 64), wanted are (5, 64, 64): remove it" in line


def test_odd_photos_are_left_out_of_a_prediction(place: Place, tmp_path: Path) -> None:
    """A program, a PNG that is cut within its pixels, and a pipe."""
    source = tmp_path / "source"
    source.mkdir()
    noise = Image.effect_noise((64, 64), 80)
    noise.save(source / "good.png")
    (source / "program.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n")
    noise.save(source / "cut.png")
    whole = (source / "cut.png").read_bytes()
    begin, length = whole.index(b"IDAT") - 4, int.from_bytes(whole[whole.index(b"IDAT") - 4 :][:4])
    half = b"IDAT" + whole[begin + 8 : begin + 8 + length // 2]
    packed = (length // 2).to_bytes(4) + half + zlib.crc32(half).to_bytes(4)
    (source / "cut.png").write_bytes(whole[:begin] + packed + whole[begin + 12 + length :])
    os.mkfifo(source / "pipe.jpg")
    settings = ("experiment=tiny", "data=folder", f"data.root={place.root}", f"run_dir={place.run}")
    code, text = place.command(predict.main, *settings, f"source={source}", f"out_dir={tmp_path}/out", *SKIP)
    assert code == 0, text
    (manifest,) = (tmp_path / "out").rglob("manifest.json")
    assert sorted(read_json(manifest)["skipped"]) == ["cut", "pipe", "program"]
    (source / os.fsdecode(b"\xff\xfe.jpg")).touch()
    assert "is no name in UTF-8 that can be shown: rename it" in place.refuses(predict, f"source={source}", *SKIP)


def test_loss_that_explodes(bare: Place) -> None:
    explosive = ("classifier.optim.lr=1e30", "classifier.optim.kind=sgd", "classifier.optim.warmup=0")
    line = bare.refuses(train_cls, *explosive, "runtime.max_bad_steps=50")
    assert "training has diverged: before step 1 weights had grown to" in line
    assert "lower the learning rate" in line


def test_weights_that_are_not_there(bare: Place) -> None:
    line = bare.refuses(train_cls, "trunk.weights=package:no_such_package")
    assert "trunk.weights=package:no_such_package: it is not installed: pip install" in line
    assert "trunk.weights: nowhere.pth does not exist" in bare.refuses(train_cls, "trunk.weights=file:nowhere.pth")
    assert "trunk.backbone='resnet_18' is not a timm model" in bare.refuses(train_cls, "trunk.backbone=resnet_18")


@pytest.mark.slow
def test_from_a_shell(tmp_path: Path, dataset: Path) -> None:
    """No traceback, and only the one line."""
    arguments = ["experiment=tiny", f"data.root={dataset}", f"run_dir={tmp_path / 'run'}"]
    command = [sys.executable, "-m", "eps.pseudo_masks", *arguments]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert "run/classifier/model.safetensors is missing: run the stage" in ended.stderr
    assert list(tmp_path.iterdir()) == []
