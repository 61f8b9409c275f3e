"""The released YOLACT's design and weights through stage 3."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eps
from eps import build, evaluate, predict, train_seg
from eps.checkpoints.yolact import _released_key
from eps.checkpoints.yolact_specs import SPECS
from eps.cli import call, compose
from eps.data.artifacts import read_json
from eps.data.class_names import COCO
from eps.data.railroad import CLASSES
from eps.engine.checkpoint import load_segmenter
from eps.errors import UserError
from eps.models.segmenter import Segmenter
from stages import stage3

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden"
DEFORMABLE = ("trunk.backbone=test_resnet", "trunk.deformable_every=1")
RELEASED = ("segmenter.design=released", "segmenter.mask_iou=true", "trunk.finest_stride=8", *DEFORMABLE)

Fill = Callable[..., dict[str, torch.Tensor]]


def tiny(root: Path, run: Path, out: Path, *overrides: str) -> tuple[str, ...]:
    """What trains on the pseudo-masks of `run` and writes to `out`."""
    names = ("experiment=tiny", f"data.root={root}", f"run_dir={run}", f"out_dir={out}", "segmenter.warm_start=false")
    return (*names, *overrides)


@pytest.fixture(scope="module")
def trained(finished: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training in the released design made. Not to be changed."""
    out = tmp_path_factory.mktemp("trained") / "yolact"
    call(train_seg.run, *tiny(dataset, finished, out, *RELEASED))
    return out


def test_the_released_design_trains(trained: Path) -> None:
    history = read_json(trained / "segmenter" / "manifest.json")["history"]
    assert [set(terms) for terms in history] == [{"box", "class", "mask", "semantic", "mask_iou"}] * 2
    assert all(np.isfinite(list(terms.values())).all() for terms in history)


def test_it_comes_back_from_its_file_alone(trained: Path, dataset: Path) -> None:
    predictor = eps.load(trained / "segmenter")
    assert isinstance(predictor.model, Segmenter)
    assert predictor.model.mask_iou is not None
    found, labels = predictor.predict_all(next((dataset / "JPEGImages").iterdir()))
    assert labels.shape == (64, 64)
    assert len(found.scores) > 0
    assert not torch.equal(found.mask_scores, found.scores)


def test_it_is_evaluated(finished: Path, trained: Path, dataset: Path) -> None:
    call(evaluate.run, *tiny(dataset, finished, trained, "evaluate=segmenter", *RELEASED))
    judged = read_json(trained / "evaluation" / "segmenter.json")["splits"]["val"]
    assert 0 <= judged["instances"]["ap"] <= 100
    assert judged["ignored"] == 0


def test_another_model_is_evaluated(
    finished: Path, trained: Path, dataset: Path, exported: Path, tmp_path: Path
) -> None:
    """As the run itself would be, in a file of its own."""
    judge = ("evaluate=segmenter", *RELEASED)
    own = read_json(call(evaluate.run, *tiny(dataset, finished, trained, *judge)).path)
    found = call(evaluate.run, *tiny(dataset, finished, tmp_path, *judge, f"model={trained / 'segmenter'}"))
    assert found.path == tmp_path / "evaluation" / "model.json"
    content = read_json(found.path)
    assert content["splits"] == own["splits"]
    assert (content["model"], "fingerprint" in content) == (str(trained / "segmenter"), False)
    with pytest.raises(UserError, match=r"safetensors knows the classes \['train', 'boat'\], the dataset has"):
        call(evaluate.run, *tiny(dataset, finished, tmp_path, *judge, f"model={exported / 'segmenter'}"))


def test_a_file_of_the_released_code_with_a_config_of_ones_own(trained: Path, dataset: Path, tmp_path: Path) -> None:
    """Under a name of its own, with classes that only its owner knows: what is found is what ours finds."""
    model, spec = load_segmenter(trained / "segmenter" / "model.safetensors")
    state = {_released_key(key): tensor for key, tensor in model.state_dict().items()}
    torch.save(state, tmp_path / "my_cfg_10_2000.pth")
    names = ",".join(spec.classes)
    theirs = (f"model={tmp_path / 'my_cfg_10_2000.pth'}", "released=config", f"classes=[{names}]", *RELEASED)
    ours = (f"model={trained / 'segmenter'}", *RELEASED)
    limits = ("source=split:val", "format=coco", "predict.frames=2", "segmenter.max_detections=5")
    results = [
        call(predict.run, *tiny(dataset, tmp_path, tmp_path / name, *given, *limits)).path
        for name, given in {"theirs": theirs, "ours": ours}.items()
    ]
    for name in ("categories.json", "results.json", "results_bbox.json"):
        assert read_json(results[0] / name) == read_json(results[1] / name) != []
    with pytest.raises(UserError, match=r"these are 2 names, .* has \d classes"):
        call(predict.run, *tiny(dataset, tmp_path, tmp_path / "wrong", *theirs, "classes=[a,b]", *limits))


def test_stage_1_can_be_its_start(finished: Path, dataset: Path, tmp_path: Path) -> None:
    """The trunk, whose prototypes are the same; YOLACT's semantic convolution has no counterpart there."""
    overrides = tiny(dataset, finished, tmp_path, "segmenter.design=released", "segmenter.warm_start=true")
    call(train_seg.run, *overrides)
    history = read_json(tmp_path / "segmenter" / "manifest.json")["history"]
    assert [set(terms) for terms in history] == [{"box", "class", "mask", "semantic"}] * 2


def test_stage_3_ends_with_an_export_where_asked(own_run: Path, dataset: Path) -> None:
    settings = ("experiment=tiny", f"data.root={dataset}", f"run_dir={own_run}")
    call(stage3.run, *settings)
    assert not (own_run / "export").exists()
    call(stage3.run, *settings, "format=onnx")
    exported, ours = eps.load(own_run / "export" / "onnx"), eps.load(own_run / "segmenter")
    photo = next((dataset / "JPEGImages").iterdir())
    torch.testing.assert_close(exported.predict(photo).scores, ours.predict(photo).scores, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", SPECS)
def test_config_describes_the_released_model(name: str) -> None:
    """`segmenter=NAME` alone is the network that its checkpoint fits; nothing is computed on the meta device."""
    released = SPECS[name]
    with torch.device("meta"):
        _, spec = build.segmenter(compose(f"segmenter={name}", "trunk.weights=none"), released.classes)
    assert np.allclose(spec.trunk.mean, released.trunk.mean, atol=1e-7)
    assert np.allclose(spec.trunk.std, released.trunk.std, atol=1e-7)
    trunk = replace(spec.trunk, mean=released.trunk.mean, std=released.trunk.std, frozen_norm=True)
    assert replace(spec, trunk=trunk) == released


def test_another_trunk_may_be_chosen() -> None:
    assert compose("segmenter=yolact_base", "trunk=tiny").trunk.backbone == "test_efficientnet"
    assert compose("segmenter=yolact_base", "experiment=tiny").trunk.backbone == "test_efficientnet"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, fill: Fill) -> Path:
    """A released YOLACT++ with the weights of the golden vectors."""
    path = tmp_path_factory.mktemp("released") / "yolact_plus_resnet50_54_800000.pth"
    torch.save(fill(json.loads((GOLDEN / "yolact_plus_resnet50_state_dict.json").read_text())), path)
    return path


def test_a_released_file_predicts(checkpoint: Path) -> None:
    predictor = eps.load(checkpoint)
    assert predictor.classes == COCO
    photo = np.random.default_rng(0).integers(0, 256, size=(40, 60, 3), dtype=np.uint8)
    predictor.score_threshold = 0.0
    found = predictor.predict(Image.fromarray(photo))
    assert found.masks.shape == (100, 40, 60)
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((123.68, 116.78, 103.94), (58.40, 57.12, 57.38)))
    torch.testing.assert_close(predictor.model.normalize(pixels / 255), (pixels - mean) / std, atol=1e-5, rtol=1e-5)


def test_a_released_file_goes_through_the_verbs(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(next((dataset / "JPEGImages").iterdir()), photos)
    given = (f"source={photos}", f"model={checkpoint}", "format=coco", f"out_dir={tmp_path}")
    limits = ("segmenter.max_detections=2", "segmenter.cross_class=true", "segmenter.score_threshold=0")
    result = call(predict.run, "experiment=tiny", *given, *limits)
    assert len(read_json(result.path / "results.json")) == 2
    names = read_json(result.path / "categories.json")
    assert (names[0], names[-1]) == ({"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"})


def test_training_goes_on_from_a_released_file(
    finished: Path, dataset: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other classes: the heads start afresh, which one line says, and the rest is the file's."""
    settings = ("segmenter=yolact_plus_resnet50", "trunk=yolact_plus_resnet50", "segmenter.optim.lr=1e-12")
    overrides = tiny(dataset, finished, tmp_path, *settings, f"segmenter.weights=released:{checkpoint}")
    scales = "segmenter.scales=[[8.0,9.0,10.0],[16.0,18.0,20.0],[24.0,26.0,28.0],[40.0,42.0,44.0],[56.0,58.0,60.0]]"
    steps = ("segmenter.steps=800001", "segmenter.start=800000", "segmenter.batch=2", "segmenter.optim.base_batch=0")
    call(train_seg.run, *overrides, scales, *steps)
    assert len(read_json(tmp_path / "segmenter" / "manifest.json")["history"]) == 1
    assert f"80 classes became {len(CLASSES)}: maskiou_net" in capsys.readouterr().err
    model, spec = load_segmenter(tmp_path / "segmenter" / "model.safetensors")
    assert spec.classes == CLASSES
    released, _ = load_segmenter(checkpoint)
    old, new = released.state_dict(), model.state_dict()
    same = [key for key in new if new[key].shape == old[key].shape]
    assert len(same) == len(new) - 6
    assert all(torch.allclose(new[key], old[key], atol=1e-4) for key in same)


def test_a_released_file_of_another_network_is_refused(finished: Path, dataset: Path, checkpoint: Path) -> None:
    overrides = tiny(dataset, finished, finished, f"segmenter.weights=released:{checkpoint}", "name=x")
    with pytest.raises(UserError, match=r"segmenter=yolact_plus_resnet50\) does not fit"):
        call(train_seg.run, *overrides, "out_dir=runs/never")
