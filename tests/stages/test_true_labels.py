"""Training on true instance labels: a few dozen scenes are learnt by heart, and real COCO photos go through."""

from pathlib import Path

import pytest

from eps import evaluate, prepare, train_seg
from eps.cli import call
from eps.data.artifacts import read_json
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
    "segmenter.steps=360",
    "segmenter.batch=8",
    "segmenter.optim.lr=4e-3",
    "segmenter.optim.warmup=20",
)
TRUTH = ("experiment=tiny", "segmenter.supervision=truth", "segmenter.warm_start=false")
YOLACT = ("segmenter.augment.kind=yolact", "segmenter.augment.expand=4", "segmenter.augment.min_side=4")
COCO_TINY = Path(__file__).parents[3] / "shared" / "data" / "coco_tiny"


def test_yolacts_augmentation_is_repeatable(dataset: Path, tmp_path: Path) -> None:
    """With objects pasted in, too."""
    weights = []
    for name in ("one", "two"):
        run = tmp_path / name
        result = call(train_seg.run, *TRUTH, *YOLACT, f"data.root={dataset}", f"run_dir={run}", "segmenter.paste=0.5")
        weights.append((result.path / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_the_schedule_that_is_trained_goes_by_the_batch(dataset: Path, tmp_path: Path) -> None:
    scaled = ("segmenter.optim.base_batch=8", "segmenter.batch=2", "segmenter.steps=1")
    result = call(train_seg.run, *TRUTH, *scaled, f"data.root={dataset}", f"run_dir={tmp_path}")
    assert len(read_json(result.path / "manifest.json")["history"]) == 4


def test_photos_whose_loss_is_not_finite_are_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first step throws the weights away, each later one is bad."""
    settings = (*TRUTH, f"data.root={dataset}", f"run_dir={tmp_path}", "segmenter.optim.lr=1e30", "segmenter.batch=2")
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
    """24 scenes, 360 steps of the smallest network from random weights: 40 s of one core."""
    places = (f"data.root={tmp_path / 'railroad'}", f"run_dir={tmp_path / 'run'}")
    call(train_seg.run, *OVERFIT, *places)
    result = call(evaluate.run, *OVERFIT, *places, "evaluate=segmenter", "evaluate.splits=[train]")
    found = read_json(result.path)["splits"]["train"]["instances"]
    assert found["ap50"] > 90
    assert found["boxes"]["ap50"] > 90
    assert found["ap_large"] is None, "no instance has 96^2 pixels"


@pytest.mark.slow
@pytest.mark.skipif(not COCO_TINY.is_dir(), reason="the 40 COCO photos of shared/data/coco_tiny are not there")
def test_coco_photos_with_crowds_go_through(tmp_path: Path) -> None:
    """`experiment=yolact_coco`, its network and photos made small."""
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
    call(prepare.run, *settings)
    call(train_seg.run, *settings)
    scores = read_json(call(evaluate.run, *settings).path)["splits"]
    assert set(scores) == {"train", "val"}
    for split in scores.values():
        figures = split["instances"], split["instances"]["boxes"]
        assert all(one[f"ap_{size}"] is not None for one in figures for size in ("small", "medium", "large"))
