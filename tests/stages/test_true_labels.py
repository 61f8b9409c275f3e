"""Training on true instance labels: a few dozen scenes are learnt by heart, and real COCO photos go through."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pycocotools.coco import COCO
from torch import nn

from eps import evaluate, predict, prepare, segmenter_tasks, train_seg
from eps.cli import call
from eps.data.artifacts import read_json
from eps.data.datasets import InstanceDataset
from eps.engine.criteria import instance_losses
from eps.engine.descent import Losses
from eps.errors import UserError

SIDE = 96
OVERFIT = (
    "experiment=tiny",
    "data.sizes={train:24,val:1,shift:1}",
    f"data.size={SIDE}",
    "trunk.fpn_channels=32",
    "trunk.head_channels=32",
    "trunk.prototypes=16",
    "segmenter.supervision=truth",
    "segmenter.warm_start=false",
    "segmenter.paste=0",
    f"segmenter.image_size=[{SIDE},{SIDE}]",
    "segmenter.scales=[[10.0],[20.0],[36.0],[56.0],[80.0]]",
    f"segmenter.augment.crop={SIDE}",
    f"segmenter.augment.long_side=[{SIDE},{SIDE}]",
    "segmenter.augment.flip=0",
    "segmenter.augment.jitter=[0,0,0,0]",
    "segmenter.steps=240",
    "segmenter.batch=8",
    "segmenter.optim.lr=4e-3",
    "segmenter.optim.warmup=20",
)
TRUTH = ("experiment=tiny", "segmenter.supervision=truth", "segmenter.warm_start=false")
YOLACT = ("segmenter.augment.kind=yolact", "segmenter.augment.expand=4", "segmenter.augment.min_side=4")
Command = Callable[..., tuple[int, str]]
COCO_TINY = Path(__file__).parents[3] / "shared" / "data" / "coco_tiny"


def test_yolacts_augmentation_is_repeatable(dataset: Path, tmp_path: Path) -> None:
    """With objects pasted in, too."""
    weights = []
    for name in ("one", "two"):
        run = tmp_path / name
        result = call(train_seg.run, *TRUTH, *YOLACT, f"data.root={dataset}", f"run_dir={run}", "segmenter.paste=0.5")
        weights.append((result.path / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_thin_true_objects_are_learnt_from(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pseudo-instances a crop must leave some pixels, of true ones the sides of the box alone decide."""
    dropped: list[int] = []
    make = segmenter_tasks.InstanceDataset

    def made(**options: Any) -> InstanceDataset:
        dropped.append(options["min_area"])
        return make(**options)

    monkeypatch.setattr(segmenter_tasks, "InstanceDataset", made)
    call(train_seg.run, *TRUTH, f"data.root={dataset}", f"run_dir={tmp_path}", "segmenter.steps=1")
    assert dropped == [1]


def test_the_schedule_that_is_trained_goes_by_the_batch(dataset: Path, tmp_path: Path) -> None:
    scaled = ("segmenter.optim.base_batch=8", "segmenter.batch=2", "segmenter.steps=1")
    result = call(train_seg.run, *TRUTH, *scaled, f"data.root={dataset}", f"run_dir={tmp_path}")
    assert len(read_json(result.path / "manifest.json")["history"]) == 4


def test_photos_whose_loss_is_not_finite_are_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps in a row are bad, and one is allowed."""

    def bad(model: nn.Module, batch: Any, step: int, **options: Any) -> Losses:
        losses = instance_losses(model, batch, step, **options)
        return losses._replace(total=losses.total * float("nan")) if step else losses

    monkeypatch.setattr(segmenter_tasks, "instance_losses", bad)
    settings = (*TRUTH, f"data.root={dataset}", f"run_dir={tmp_path}", "segmenter.batch=2")
    with pytest.raises(
        UserError, match=r"not finite at step (\d) \(photos .*\), and 1 steps before were skipped"
    ) as told:
        call(train_seg.run, *settings, "segmenter.steps=6", "segmenter.optim.warmup=0", "runtime.max_bad_steps=1")
    ids = (dataset / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    named = str(told.value).split("(photos ")[1].split(")")[0].split(", ")
    assert 2 <= len(named) <= 4, "two photos, and those that were pasted into them"
    assert set(named) <= set(ids)
    assert "skipped, 1 of at most 1" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "segmenter").exists()


@pytest.mark.slow
def test_true_labelled_scenes_are_learnt_by_heart(tmp_path: Path) -> None:
    """24 scenes, 240 steps of the smallest network from random weights: half a minute of one core."""
    places = (f"data.root={tmp_path / 'railroad'}", f"run_dir={tmp_path / 'run'}")
    call(train_seg.run, *OVERFIT, *places)
    result = call(evaluate.run, *OVERFIT, *places, "evaluate=segmenter", "evaluate.splits=[train]")
    found = read_json(result.path)["splits"]["train"]["instances"]
    assert found["ap50"] > 90
    assert found["boxes"]["ap50"] > 90
    assert found["ap_large"] is None, "no instance has 96^2 pixels"


@pytest.mark.slow
@pytest.mark.skipif(not COCO_TINY.is_dir(), reason="the 40 COCO photos of shared/data/coco_tiny are not there")
def test_coco_photos_with_crowds_go_through(command: Command, tmp_path: Path) -> None:
    """`experiment=yolact_coco`, its network and photos made small: each step by its command."""
    settings = (
        "experiment=yolact_coco",
        "data=coco",
        f"data.root={COCO_TINY}",
        "data.tags=instances.json",
        f"data.index={tmp_path / 'index'}",
        f"run_dir={tmp_path / 'run'}",
        "trunk=tiny",
        "segmenter.image_size=[128,128]",
        "segmenter.scales=[[8.0],[16.0],[32.0],[64.0],[100.0]]",
        "segmenter.steps=4",
        "segmenter.batch=4",
        "runtime.device=cpu",
        "runtime.workers=0",
        "evaluate.splits=[train,val]",
    )
    for verb in (prepare, train_seg, evaluate):
        code, text = command(verb.main, *settings)
        assert code == 0, text
    scores = read_json(tmp_path / "run" / "evaluation" / "segmenter.json")["splits"]
    assert set(scores) == {"train", "val"}
    for split in scores.values():
        figures = split["instances"], split["instances"]["boxes"]
        assert all(one[f"ap_{size}"] is not None for one in figures for size in ("small", "medium", "large"))
    code, text = command(predict.main, *settings, "format=coco", "segmenter.score_threshold=0")
    assert code == 0, text
    truth = COCO(str(COCO_TINY / "instances.json"))
    found = truth.loadRes(str(tmp_path / "run" / "predictions" / "coco" / "results.json"))
    assert len({entry["image_id"] for entry in found.anns.values()} & set(truth.getImgIds())) == 4  # of val
    assert {entry["category_id"] for entry in found.anns.values()} <= set(truth.getCatIds())
    photo = next(COCO_TINY.rglob("*.jpg"))
    code, text = command(predict.main, *settings, f"source={photo}", "predict.score_threshold=0")
    assert code == 0, text
    drawn = tmp_path / "run" / "predictions" / "picture" / photo.name
    with Image.open(drawn) as image, Image.open(photo) as original:
        assert image.size == original.size
