"""DeepLab as stage 3's segmenter: the same verbs, the same pseudo-masks, a semantic map and no instances."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torchvision.models.segmentation import deeplabv3_resnet50

import eps
from eps import build, export, predict, report, train_seg
from eps.cli import call, compose
from eps.data.artifacts import read_json, read_mask
from eps.data.layout import DatasetFolder
from eps.data.railroad import CLASSES
from eps.engine.checkpoint import load_segmenter
from eps.engine.predictor import Predictor
from eps.errors import UserError
from eps.models.spec import DeepLabSpec, from_json
from stages import stage3

pytestmark = pytest.mark.slow


def deeplab(root: Path, run: Path, out: Path, *overrides: str) -> tuple[str, ...]:
    """What trains on the pseudo-masks of `run` and writes to `out`."""
    names = ("experiment=tiny", "segmenter=deeplab", f"data.root={root}", f"run_dir={run}", f"out_dir={out}")
    return (*names, *overrides)


@pytest.fixture(scope="module")
def trained(finished: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory, quick_deeplab: None) -> Path:
    """What stage 3 made. Not to be changed."""
    out = tmp_path_factory.mktemp("trained") / "deeplab"
    call(stage3.run, *deeplab(dataset, finished, out))
    return out


def test_what_stage_3_writes(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {"segmenter", "evaluation", "report"}
    assert {path.name for path in (trained / "segmenter").iterdir()} == {
        "model.safetensors",
        "manifest.json",
        "run.json",
    }
    with safe_open(trained / "segmenter" / "model.safetensors", framework="pt") as file:
        (spec,) = (from_json(text) for text in file.metadata().values())
    assert isinstance(spec, DeepLabSpec)
    assert (spec.classes, spec.backbone) == (CLASSES, "resnet50")
    content = read_json(trained / "segmenter" / "manifest.json")
    assert [set(terms) for terms in content["history"]] == [{"semantic"}] * 2
    assert (content["config"]["kind"], content["config"]["deeplab"]["weights"]) == ("deeplab", "none")
    assert 0 <= content["score"] <= 1


def test_it_predicts_labels_alone(trained: Path, dataset: Path) -> None:
    predictor = eps.load(trained / "segmenter")
    photo = dataset / "JPEGImages" / "val_00000.jpg"
    found, labels = predictor.predict_all(photo)
    assert len(found.scores) == 0
    assert labels.shape == (64, 64)
    with pytest.raises(UserError, match="finds no instances"):
        predictor.predict(photo)


def test_predict_writes_its_labels_and_refuses_instances(trained: Path, finished: Path, dataset: Path) -> None:
    arguments = deeplab(dataset, finished, trained.parent / "predicted", f"model={trained / 'segmenter'}")
    result = call(predict.run, *arguments)
    for photo in DatasetFolder.open(dataset).ids("val"):
        _, labels = eps.load(trained / "segmenter").predict_all(dataset / "JPEGImages" / f"{photo}.jpg")
        np.testing.assert_array_equal(read_mask(result.path / f"{photo}.png"), labels)
    with pytest.raises(UserError, match="format=coco: this segmenter gives semantic masks alone"):
        call(predict.run, *arguments, "format=coco")


def test_evaluation_judges_its_labels_and_no_instances(trained: Path, dataset: Path) -> None:
    content = read_json(trained / "evaluation" / "segmenter.json")
    assert set(content["splits"]) == {"val", "shift"}
    predictor, data = eps.load(trained / "segmenter"), DatasetFolder.open(dataset)
    hits = pixels = 0
    for photo in data.ids("val"):
        labels = predictor.predict_all(data.photo(photo))[1].cpu().numpy()
        true = read_mask(dataset / "SegmentationClass" / f"{photo}.png")
        hits += int(((labels == true) & (true != 255)).sum())
        pixels += int((true != 255).sum())
    assert content["splits"]["val"]["pixel_accuracy"] == pytest.approx(100 * hits / pixels)
    assert content["splits"]["val"]["instances"] is None


def test_report_shows_it_beside_ours(
    trained: Path, finished: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = json.loads((trained / "report" / "summary.json").read_text())["rows"]
    miou = read_json(trained / "evaluation" / "segmenter.json")["splits"]["val"]["miou"]
    assert (alone["deeplab"]["miou_val"], alone["deeplab"]["ap50"]) == (miou, None)
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.copytree(trained, run / "deeplab")
    result = call(report.run, "experiment=tiny", f"data.root={dataset}", f"run_dir={run}")
    rows = json.loads((run / "report" / "summary.json").read_text())["rows"]
    assert rows["deeplab"]["miou_val"] == miou
    assert rows["segmenter"]["miou_val"] == result.score
    assert "DeepLab" in capsys.readouterr().out
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("<figcaption>DeepLab") == 12 + 4
    assert "DeepLab finds no instances: its labels are drawn" in page


def test_the_same_seed_gives_the_same_bytes_and_truth_is_not_read(
    trained: Path, finished: Path, own_dataset: Path, tmp_path: Path, contents: Callable[[Path], dict[str, str]]
) -> None:
    for kind in ("Class", "Object", "Context"):
        shutil.rmtree(own_dataset / f"Segmentation{kind}")
    torch.manual_seed(123)  # what ran before does not matter
    call(train_seg.run, *deeplab(own_dataset, finished, tmp_path / "again", "data=folder"))
    assert contents(tmp_path / "again") == contents(trained)


def test_what_trains_it_is_known_from_what_does_not(
    trained: Path, finished: Path, dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(trained, out)

    def stamp(*overrides: str) -> int:
        call(train_seg.run, *deeplab(dataset, finished, out, *overrides))
        return (out / "segmenter" / "model.safetensors").stat().st_mtime_ns

    before = stamp()
    predicting = ("segmenter.deeplab.test_scales=[0.5,1]", "segmenter.deeplab.test_flip=true")
    of_ours = ("segmenter.ratios=[1]", "segmenter.mask_weight=2", "trunk.prototypes=4")
    assert stamp(*predicting, *of_ours) == before
    assert stamp("segmenter.steps=1") > before
    now = stamp("segmenter.steps=1")
    assert stamp("segmenter.steps=1", "segmenter.deeplab.scale=[1,1]") > now


def test_true_masks_train_it_too(trained: Path, finished: Path, dataset: Path, tmp_path: Path) -> None:
    call(train_seg.run, *deeplab(dataset, finished, tmp_path, "segmenter.supervision=truth", "segmenter.steps=1"))
    histories = [read_json(out / "segmenter" / "manifest.json")["history"][0] for out in (tmp_path, trained)]
    assert histories[0] != histories[1]


def test_scales_and_flips_at_test_time_are_the_predictors(trained: Path, dataset: Path, tmp_path: Path) -> None:
    photo = dataset / "JPEGImages" / "val_00000.jpg"

    def probabilities(*test: str) -> torch.Tensor:
        cfg = compose(*deeplab(dataset, trained, tmp_path, *test))
        return build.predictor(cfg, trained / "segmenter").probabilities(photo)

    single = probabilities()
    both = probabilities("segmenter.deeplab.test_scales=[0.5,1.5]", "segmenter.deeplab.test_flip=true")
    model, spec = load_segmenter(trained / "segmenter" / "model.safetensors")
    expected = Predictor(model=model, spec=spec, device=torch.device("cpu"), scales=[0.5, 1.5], flip=True)
    assert torch.allclose(both, expected.probabilities(photo), atol=1e-6)  # whose batch norms are not folded
    assert not torch.allclose(single, both, atol=1e-5)


def test_it_learns(finished: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real network, from random weights."""
    monkeypatch.setattr("eps.models.spec.deeplabv3_resnet50", deeplabv3_resnet50)
    sizes = (
        "segmenter.steps=14",
        "segmenter.batch=2",
        "segmenter.augment.crop=32",
        "segmenter.deeplab.scale=[0.5,0.5]",
    )
    call(train_seg.run, *deeplab(dataset, finished, tmp_path, *sizes, "segmenter.optim.lr=1e-3"))
    history = [terms["semantic"] for terms in read_json(tmp_path / "segmenter" / "manifest.json")["history"]]
    assert np.mean(history[-4:]) < 0.8 * np.mean(history[:3])


def test_on_the_trunks_backbone(
    finished: Path, dataset: Path, tmp_path: Path, contents: Callable[[Path], dict[str, str]]
) -> None:
    """The real network, through training, evaluation, prediction and export's refusal; and the same bytes again."""
    on_trunk = ("segmenter.deeplab.backbone=trunk", "segmenter.deeplab.output_stride=16")
    call(stage3.run, *deeplab(dataset, finished, tmp_path / "made", *on_trunk))
    call(train_seg.run, *deeplab(dataset, finished, tmp_path / "again", *on_trunk, "runtime.cache_mb=0"))
    again = contents(tmp_path / "again")
    assert again == {name: held for name, held in contents(tmp_path / "made").items() if name in again}
    place = tmp_path / "made" / "segmenter"
    with safe_open(place / "model.safetensors", framework="pt") as file:
        (spec,) = (from_json(text) for text in file.metadata().values())
        assert any(key.startswith("backbone.body.") for key in file.keys())  # noqa: SIM118 - not a dict
    assert isinstance(spec, DeepLabSpec)
    assert spec.trunk is not None
    assert (spec.trunk.backbone, spec.trunk.output_stride) == ("test_efficientnet", 16)
    photo = dataset / "JPEGImages" / "val_00000.jpg"
    _, labels = eps.load(place).predict_all(photo)
    assert labels.shape == (64, 64)
    predicted = call(predict.run, *deeplab(dataset, finished, tmp_path / "predicted", f"model={place}")).path
    np.testing.assert_array_equal(read_mask(predicted / "val_00000.png"), labels)
    with pytest.raises(UserError, match="is a DeepLab, which has no boxes or prototypes"):
        call(export.run, *deeplab(dataset, finished, tmp_path / "exported", f"model={place}", "format=onnx"))
    rows = json.loads((tmp_path / "made" / "report" / "summary.json").read_text())["rows"]
    assert (
        rows["deeplab"]["miou_val"] == read_json(tmp_path / "made/evaluation/segmenter.json")["splits"]["val"]["miou"]
    )
