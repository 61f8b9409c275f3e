"""`eps.predict` in every format, and `eps.evaluate` on masks of any project: ours among them."""

import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import eps
from eps import evaluate, predict
from eps.cli import call
from eps.data.artifacts import read_json, read_mask, write_instances, write_json, write_mask
from eps.data.layout import DatasetFolder
from eps.data.palette import voc_palette
from eps.data.railroad import CLASSES
from eps.ops.crf import dense_crfs
from eps.ops.mean_field import CRFParameters

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str]]
NAMES = f"[{','.join(CLASSES)}]"


def tiny(root: Path, run: Path, *overrides: str) -> tuple[str, ...]:
    return ("experiment=tiny", f"data.root={root}", f"run_dir={run}", *overrides)


@pytest.fixture
def bare(finished: Path, tmp_path: Path) -> Path:
    """A run with a segmenter and nothing else."""
    shutil.copytree(finished / "segmenter", tmp_path / "run" / "segmenter")
    return tmp_path / "run"


def test_png(bare: Path, dataset: Path) -> None:
    """What the segmenter labels, in the colours of VOC; a second run has nothing to do."""
    result = call(predict.run, *tiny(dataset, bare))
    assert result.path == bare / "predictions" / "png"
    ids = DatasetFolder.open(dataset).ids("val")
    assert sorted(path.stem for path in result.path.glob("*.png")) == ids
    segmenter = eps.load(bare / "segmenter")
    for photo in ids:
        _, expected = segmenter.predict_all(dataset / "JPEGImages" / f"{photo}.jpg")
        np.testing.assert_array_equal(read_mask(result.path / f"{photo}.png"), expected)
        with Image.open(result.path / f"{photo}.png") as image:
            assert (image.mode, image.getpalette()) == ("P", voc_palette())
    before = {path: path.stat().st_mtime_ns for path in result.path.iterdir()}
    call(predict.run, *tiny(dataset, bare))
    assert {path: path.stat().st_mtime_ns for path in result.path.iterdir()} == before
    assert {path.name for path in bare.iterdir()} == {"segmenter", "predictions"}


def test_voc(bare: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(predict.run, *tiny(dataset, bare, "format=voc", "source=split:shift"))
    folder = bare / "predictions" / "voc" / "results" / "VOC2012" / "Segmentation" / "comp6_shift_cls"
    assert sorted(path.stem for path in folder.iterdir()) == DatasetFolder.open(dataset).ids("shift")
    shown = capsys.readouterr().err
    assert "tar -czf results.tgz" in shown
    assert "not VOC's 20" in shown


def test_photos_need_no_dataset(bare: Path, dataset: Path, tmp_path: Path) -> None:
    """A folder of photos of any size, in the test server's folders; then a list of two of them."""
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(dataset / "JPEGImages" / "val_00000.jpg", photos / "one.jpg")
    Image.new("L", (65, 33), 90).save(photos / "two.PNG")
    (photos / "list.txt").write_text("two.PNG\n")
    nowhere = ("data=folder", f"data.root={tmp_path / 'nowhere'}")
    call(predict.run, *tiny(dataset, bare, *nowhere, f"source={photos}", "format=voc"))
    folder = bare / "predictions" / "voc" / "results" / "VOC2012" / "Segmentation" / "comp6_test_cls"
    assert {path.stem: read_mask(path).shape for path in folder.iterdir()} == {"one": (64, 64), "two": (33, 65)}
    model = f"model={bare / 'segmenter' / 'model.safetensors'}"
    elsewhere = tmp_path / "elsewhere"
    call(predict.run, *tiny(dataset, elsewhere, *nowhere, f"source={photos / 'list.txt'}", model, "format=png"))
    made = elsewhere / "predictions" / "png"
    assert [path.name for path in made.glob("*.png")] == ["two.png"]
    np.testing.assert_array_equal(read_mask(made / "two.png"), read_mask(folder / "two.png"))


def test_coco_reads_the_results(bare: Path, dataset: Path, tmp_path: Path) -> None:
    result = call(predict.run, *tiny(dataset, bare, "format=coco"))
    results = read_json(result.path / "results.json")
    assert read_json(result.path / "categories.json")[0] == {"id": 1, "name": CLASSES[0]}
    ids = DatasetFolder.open(dataset).ids("val")
    segmenter = eps.load(bare / "segmenter")
    found = {photo: segmenter.predict(dataset / "JPEGImages" / f"{photo}.jpg") for photo in ids}
    assert len(results) == sum(len(one.scores) for one in found.values()) > 0
    write_instances(tmp_path / "truth.json", {p: [] for p in ids}, sizes=dict.fromkeys(ids, (64, 64)), classes=CLASSES)
    content = read_json(tmp_path / "truth.json")
    for image in content["images"]:
        image["id"] = image["file_name"]
    write_json(tmp_path / "truth.json", content)
    with redirect_stdout(StringIO()):
        truth = COCO(tmp_path / "truth.json")
        loaded = truth.loadRes(str(result.path / "results.json"))
    for photo in ids:
        annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[photo]))
        assert [one["category_id"] - 1 for one in annotations] == found[photo].classes.tolist()
        for one, mask in zip(annotations, found[photo].masks, strict=True):
            np.testing.assert_array_equal(loaded.annToMask(one).astype(bool), mask)


@pytest.mark.parametrize("choice", ["crf", "crf_torch"])
def test_crf(bare: Path, dataset: Path, choice: str) -> None:
    result = call(predict.run, *tiny(dataset, bare, f"predict={choice}"))
    segmenter = eps.load(bare / "segmenter")
    changed = 0
    for photo in DatasetFolder.open(dataset).ids("val"):
        with Image.open(dataset / "JPEGImages" / f"{photo}.jpg") as image:
            pixels = np.asarray(image)
        deeplab = CRFParameters(10, 1.0, 3.0, 67.0, 3.0, 4.0)
        backend = "torch" if choice == "crf_torch" else "pydensecrf"
        (refined,) = dense_crfs([pixels], [segmenter.probabilities(pixels)], deeplab, backend=backend)
        labels = read_mask(result.path / f"{photo}.png")
        np.testing.assert_array_equal(labels, refined.argmax(dim=0))
        changed += int((labels != segmenter.predict_all(pixels)[1].numpy()).sum())
    assert changed > 0


def test_own_masks_as_foreign_ones(bare: Path, dataset: Path) -> None:
    """Predicted, written and read as anyone's masks, they score what the segmenter scores."""
    made = call(predict.run, *tiny(dataset, bare)).path
    truth = dataset / "SegmentationClass"
    pairs = f"evaluate.pairs=[[{CLASSES[0]},background]]"
    result = call(
        evaluate.run, *tiny(dataset, bare, f"predictions={made}", f"truth={truth}", f"classes={NAMES}", pairs)
    )
    own = call(evaluate.run, *tiny(dataset, bare, "evaluate=segmenter", pairs))
    assert result.score == own.score
    theirs, ours = read_json(result.path), read_json(own.path)["splits"]["val"]
    assert result.path.name == "predictions.json"
    assert theirs["photos"] == 4
    scores = theirs["splits"]["all"]
    for key in ("per_class", "precision", "recall", "pixel_accuracy", "fw_iou", "boundary", "pairs", "ignored"):
        assert scores[key] == ours[key]
    assert scores["instances"] is scores["leakage"] is None


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Two photos of 2 x 5: of 9 judged pixels 6 are right, one is left out as 255, one of truth is void."""
    write_mask(tmp_path / "truth" / "a.png", np.array([[0, 0, 1, 1, 255]], dtype=np.uint8))
    write_mask(tmp_path / "truth" / "b.png", np.array([[0, 2, 2, 2, 2]], dtype=np.uint8))
    write_mask(tmp_path / "truth" / "c.png", np.zeros((1, 5), dtype=np.uint8))
    write_mask(tmp_path / "predictions" / "a.png", np.array([[0, 1, 1, 1, 2]], dtype=np.uint8))
    write_mask(tmp_path / "predictions" / "b.png", np.array([[0, 2, 2, 255, 1]], dtype=np.uint8))
    return tmp_path


def score(command: Command, foreign: Path, *overrides: str) -> tuple[int, str]:
    folders = (f"predictions={foreign / 'predictions'}", f"truth={foreign / 'truth'}")
    return command(evaluate.main, *folders, *overrides)


def test_command_line_of_foreign_masks(command: Command, foreign: Path) -> None:
    """No dataset, no run: two folders and names."""
    code, text = score(command, foreign, "classes=[train,boat]", "evaluate.pairs=[[train,boat]]")
    assert code == 0, text
    content = read_json(Path("runs/default/evaluation/predictions.json"))
    scores = content["splits"]["all"]
    assert scores["per_class"] == pytest.approx({"background": 200 / 3, "train": 50, "boat": 50})
    assert scores["ignored"] == pytest.approx(100 / 9)
    assert scores["pixel_accuracy"] == pytest.approx(600 / 9)
    assert scores["pairs"][0]["confusion_ratio"] == pytest.approx(1 / 2)
    assert content["photos"] == 2
    assert not Path("runs/data").exists()


@pytest.mark.parametrize("classes", ["voc", "coco", "2", "20"])
def test_known_lists_and_numbers(command: Command, foreign: Path, classes: str) -> None:
    assert score(command, foreign, f"classes={classes}") == (0, score(command, foreign, f"classes={classes}")[1])
    scores = read_json(Path("runs/default/evaluation/predictions.json"))["splits"]["all"]
    assert scores["miou"] == pytest.approx((200 / 3 + 50 + 50) / 3)
    assert len(scores["per_class"]) == {"voc": 21, "coco": 81, "2": 3, "20": 21}[classes]


def test_list_of_ids(command: Command, foreign: Path) -> None:
    (foreign / "mine.txt").write_text("a\n")
    assert score(command, foreign, "classes=2", f"ids={foreign / 'mine.txt'}")[0] == 0
    assert set(read_json(Path("runs/default/evaluation/predictions.json"))["splits"]) == {"mine"}
    (foreign / "mine.txt").write_text("a\nc\n")
    code, text = score(command, foreign, "classes=2", f"ids={foreign / 'mine.txt'}")
    assert code == 2
    assert "1 of 2 masks are missing: c.png" in text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "give truth=DIR and classes=voc, coco"),
        (["classes=vco"], "classes=vco: give voc, coco, names"),
        (["classes=1"], "photo 'a': prediction holds the label 2, neither in 0..1 nor 255"),
        (["classes=2", "truth="], "give truth=DIR"),
        (
            ["classes=2", "evaluate.pairs=[[train,boat]]"],
            "evaluate.pairs: no class 'train'; there are background, 1, 2",
        ),
        (["classes=2", "predictions="], "goes with predictions=DIR, which is not given"),
    ],
)
def test_mistakes(command: Command, foreign: Path, overrides: list[str], message: str) -> None:
    code, text = score(command, foreign, *overrides)
    assert (code, text.count("\n")) == (2, 1), text
    assert message in text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["source=nowhere"], "source=nowhere: no such file or folder"),
        (["source=split:none"], "split 'none'"),
        (["format=coco", "predict=crf"], "predict.crf refines semantic masks, format=coco shows instances"),
        (["model=nowhere"], "nowhere/model.safetensors is missing"),
        (["format=jpg"], "format"),
    ],
)
def test_mistakes_of_prediction(
    command: Command, bare: Path, dataset: Path, overrides: list[str], message: str
) -> None:
    code, text = command(predict.main, *tiny(dataset, bare, *overrides))
    assert code == 2, text
    assert message in text.splitlines()[-1]
    assert not (bare / "predictions").exists()
