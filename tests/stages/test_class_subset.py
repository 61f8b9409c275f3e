"""`data.classes`: some of COCO's classes by name, through every verb."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eps
from eps import build_data, evaluate, predict, prepare, pseudo_masks, train_cls, train_seg
from eps.cli import call, compose
from eps.data.artifacts import read_json, write_json
from eps.data.sampling import sample
from eps.errors import UserError

pytestmark = pytest.mark.slow

SIDE = 64
NAMES = ("cow", "train", "boat")
SQUARES = {"cow": (4, 4), "train": (34, 6), "boat": (20, 36)}
CHOSEN = "data.classes=[boat,train]"


def annotation(number: int, image: int, name: str) -> dict[str, Any]:
    x, y = SQUARES[name]
    outline = [[x, y, x + 20, y, x + 20, y + 20, x, y + 20]]
    facts = {"bbox": [x, y, 20, 20], "area": 400, "iscrowd": 0, "segmentation": outline}
    return {"id": number, "image_id": image, "category_id": 10 * NAMES.index(name) + 10, **facts}


@pytest.fixture
def settings(tmp_path: Path) -> tuple[str, ...]:
    """Six photos a split: of all three classes, of one each, and of none."""
    shown = [NAMES, ("cow",), ("train",), ("boat",), (), ("cow", "boat")]
    for split in ("train", "val"):
        images, annotations = [], []
        for number, names in enumerate(shown, start=1):
            pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            path = tmp_path / "set" / "images" / f"{split}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            images.append({"id": number, "file_name": path.name, "height": SIDE, "width": SIDE})
            annotations += [annotation(len(annotations) + k, number, name) for k, name in enumerate(names, start=1)]
        categories = [{"id": 10 * k + 10, "name": name} for k, name in enumerate(NAMES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        write_json(tmp_path / "set" / "annotations" / f"instances_{split}.json", content)
    places = (f"data.root={tmp_path / 'set'}", f"data.index={tmp_path / 'index'}", f"run_dir={tmp_path / 'run'}")
    return ("experiment=tiny", "data=coco", "classifier=cam", "pseudo_masks.threshold=0.3", *places)


def test_what_is_read(settings: tuple[str, ...]) -> None:
    """Photos of the training split that show neither class are left out; for evaluation they stay."""
    cfg = compose(*settings, CHOSEN).data
    folder, truth = build_data.dataset(cfg), build_data.truth(cfg)
    assert folder.classes == ("boat", "train")
    assert folder.ids("train") == ["train1", "train3", "train4", "train6"]
    assert len(folder.ids("val")) == 6
    assert folder.tags("train6").tolist() == [True, False]
    assert set(np.unique(truth.semantic("val1"))) == {0, 1, 2}
    assert truth.semantic("val1")[40, 24] == 1
    assert truth("val2").classes.tolist() == []
    assert sorted(truth("val1").classes.tolist()) == [0, 1]
    whole = build_data.truth(compose(*settings).data)
    assert whole.fingerprint(["val1"]) != truth.fingerprint(["val1"])


def test_through_every_verb(settings: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From true masks and from tags: what is trained knows these classes alone, and is scored on them."""
    given = (*settings, CHOSEN)
    call(prepare.run, *given, "data.check_truth=true")
    assert "2 photos of the split train show none of them and are left out" in capsys.readouterr().err
    call(train_cls.run, *given, "classifier.steps=1")
    call(pseudo_masks.run, *given)
    scores = read_json(call(evaluate.run, *given).path)["splits"]["train"]
    assert list(scores["per_class"]) == ["background", "boat", "train"]
    true = (*given, "segmenter.supervision=truth", "segmenter.warm_start=false")
    call(train_seg.run, *true)
    scores = read_json(call(evaluate.run, *true, "evaluate=segmenter").path)["splits"]["val"]
    assert list(scores["instances"]["ap50_per_class"]) == ["boat", "train"]
    assert eps.load(tmp_path / "run" / "segmenter").classes == ("boat", "train")
    found = call(predict.run, *true, "source=split:val", "format=coco", "predict.classes=[boat]").path
    names = {entry["id"]: entry["name"] for entry in read_json(found / "categories.json")}
    assert {names[entry["category_id"]] for entry in read_json(found / "results.json")} <= {"boat"}


def test_a_segmenter_that_knows_more_is_scored_on_them(
    settings: tuple[str, ...], segmenter_run: Path, tmp_path: Path
) -> None:
    """The others of its classes are background; theirs is another order."""
    given = (*settings, "evaluate=segmenter", f"model={segmenter_run / 'segmenter'}")
    scores = read_json(call(evaluate.run, *given, "data.classes=[boat]").path)["splits"]["val"]
    segmenter = eps.load(segmenter_run / "segmenter")
    assert segmenter.classes == ("train", "boat")
    matrix = np.zeros((2, 3), dtype=int)
    truth = build_data.truth(compose(*settings, "data.classes=[boat]").data)
    for number in range(1, 7):
        _, labels = segmenter.predict_all(tmp_path / "set" / "images" / f"val{number}.png")
        boats = labels.numpy() == 2
        expected = truth.semantic(f"val{number}") == 1
        for true in (0, 1):
            for predicted in (0, 1):
                matrix[true, predicted] += ((expected == true) & (boats == predicted)).sum()
    assert scores["confusion_matrix"] == matrix.tolist()
    assert scores["instances"] is not None
    with pytest.raises(UserError, match=r"knows the classes \['train', 'boat'\], the dataset has \['cow', 'boat'\]"):
        call(evaluate.run, *given, "data.classes=[cow,boat]")


def test_some_photos_are_scored(settings: tuple[str, ...], segmenter_run: Path) -> None:
    """The first ones of a split, or a sample of them that the seed decides."""
    given = (*settings, "evaluate=segmenter", f"model={segmenter_run / 'segmenter'}", "data.classes=[boat]")

    def matrix(*overrides: str) -> np.ndarray:
        splits = read_json(call(evaluate.run, *given, "evaluate.photos=2", *overrides).path)["splits"]
        return np.array(splits["val"]["confusion_matrix"])

    first = matrix()
    assert first.sum() == 2 * SIDE * SIDE
    assert first[1].sum() == 400, "the first photo has the one boat"
    assert sample([f"val{number}" for number in range(1, 7)], most=2, seed=2) == ["val1", "val4"]
    assert matrix("evaluate.shuffle=true", "seed=2")[1].sum() == 800
    with pytest.raises(UserError, match=r"evaluate\.shuffle=True"):
        compose(*settings, "evaluate.shuffle=true")


def test_unknown_class(settings: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"data\.classes: the dataset has no class 'horse'; it has cow, train, boat"):
        call(prepare.run, *settings, "data.classes=[boat,horse]")
