"""YOLACT's recipes on true masks: every number as published, or as released."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from eps import build, build_training
from eps.cli import compose
from eps.data.transforms import SampledCrop, seeded
from eps.errors import UserError
from eps.models.segmenter import Segmenter
from eps.models.spec import SegmenterSpec
from eps.schema import Config
from eps.schema.segmenter import Supervision


def recipe(name: str, *overrides: str) -> Config:
    return compose(f"experiment={name}", *overrides)


def segmenter(cfg: Config) -> tuple[Segmenter, SegmenterSpec]:
    """Without memory for its weights."""
    with torch.device("meta"):
        return build.segmenter(cfg, ("cat", "dog"))


@pytest.mark.parametrize(
    ("name", "steps", "drops", "data"),
    [
        ("yolact_coco", 800_000, (280_000, 600_000, 700_000, 750_000), "coco17"),
        ("yolact_sbd", 120_000, (60_000, 100_000), "sbd"),
    ],
)
def test_rates_of_every_step(name: str, steps: int, drops: tuple[int, ...], data: str) -> None:
    cfg = recipe(name)
    node = cfg.segmenter
    assert (cfg.data.kind, node.supervision, node.steps, node.batch) == (data, Supervision.truth, steps, 8)
    assert not node.warm_start
    assert build.scaled_with_batch(node) is node
    optimizer, scheduler = build_training.optimizer(node.optim, nn.Linear(2, 2), last=[], steps=steps)
    assert isinstance(optimizer, torch.optim.SGD)
    assert all(group["momentum"] == 0.9 and group["initial_lr"] == 1e-3 for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-4, 5e-4]  # weights, and biases as well
    factor, *_ = scheduler.lr_lambdas
    assert [factor(step) for step in (0, 250, 500)] == pytest.approx([0.1, 0.55, 1.0])  # from 1e-4 over 500 steps
    for number, drop in enumerate(drops):
        assert [factor(drop - 1), factor(drop)] == pytest.approx([10.0**-number, 10.0 ** -(number + 1)])


@pytest.mark.parametrize(("batch", "steps", "rate"), [(8, 800_000, 1e-3), (4, 1_600_000, 5e-4), (16, 400_000, 2e-3)])
def test_the_schedule_goes_by_the_batch(
    batch: int, steps: int, rate: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many photos are seen, and rates drop after the same share of them; the warm-up stays."""
    scaled = build.scaled_with_batch(recipe("yolact_coco", f"segmenter.batch={batch}").segmenter)
    assert (scaled.steps, scaled.optim.warmup) == (steps, 500)
    assert scaled.optim.lr == pytest.approx(rate)
    assert scaled.steps * scaled.batch == 6_400_000
    assert scaled.optim.drops == [0.35, 0.75, 0.875, 0.9375]
    assert (f"{steps} steps" in " ".join(capsys.readouterr().err.split())) == (batch != 8)
    assert build.scaled_with_batch(scaled) == scaled


def test_a_schedule_goes_on_where_a_released_file_has_come_to(capsys: pytest.CaptureFixture[str]) -> None:
    """Its rates are those of the whole run, its steps the rest; with another batch both go by it."""
    going_on = ("segmenter.weights=released:yolact_base_40_600000.pth", "segmenter.start=600000")
    node = build.remaining(build.scaled_with_batch(recipe("yolact_coco", *going_on).segmenter))
    assert (node.steps, node.start) == (200_000, 600_000)
    whole = build_training.optimizer(node.optim, nn.Linear(2, 2), last=[], steps=800_000)[1].lr_lambdas[0]
    rest = build_training.optimizer(node.optim, nn.Linear(2, 2), last=[], steps=800_000, done=600_000)[1].lr_lambdas[0]
    for step in (0, 99_999, 100_000, 199_999):
        assert rest(step) == whole(600_000 + step)
    halved = build.scaled_with_batch(recipe("yolact_coco", *going_on, "segmenter.batch=16").segmenter)
    assert (halved.steps, halved.start) == (400_000, 300_000)
    with pytest.raises(UserError, match=r"segmenter\.start=800000: of segmenter\.steps=800000 none is left to do"):
        build.remaining(recipe("yolact_coco", *going_on, "segmenter.start=800000").segmenter)
    with pytest.raises(UserError, match=r"segmenter\.start=5: goes with segmenter\.weights=released:FILE"):
        recipe("yolact_coco", "segmenter.start=5")


def test_without_a_base_batch_nothing_is_scaled() -> None:
    classifier = compose("classifier.batch=3").classifier
    assert build.scaled_with_batch(classifier) is classifier
    based = replace(classifier, optim=replace(classifier.optim, base_batch=12))
    assert build.scaled_with_batch(based).steps == 4 * classifier.steps


@pytest.mark.parametrize(("batch", "frozen"), [(8, False), (6, False), (5, True)])
def test_norms_are_frozen_where_a_batch_has_few_photos(batch: int, frozen: bool) -> None:
    model, spec = segmenter(recipe("yolact_coco", "trunk.weights=none", f"segmenter.batch={batch}"))
    assert spec.trunk.frozen_norm == frozen
    norms = [m for m in model.train().trunk.backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) > 100
    assert all(norm.training != frozen and norm.weight.requires_grad != frozen for norm in norms)


def transform(name: str, *overrides: str) -> v2.Compose:
    cfg = recipe(name, *overrides)
    return build.instance_transform(cfg.segmenter, mean=cfg.trunk.mean)


@pytest.mark.parametrize("name", ["yolact_coco", "yolact_sbd"])
def test_the_released_order_of_augmentation(name: str) -> None:
    parts = transform(name).transforms
    kinds = [type(part) for part in parts]
    order = [*4 * [v2.RandomApply], v2.ToDtype, v2.RandomZoomOut, SampledCrop, v2.RandomHorizontalFlip, v2.Resize]
    assert kinds == order
    colours = [part.transforms[0] for part in parts[:4]]
    assert (colours[0].brightness, colours[1].contrast) == ((0.875, 1.125), (0.5, 1.5))  # 32 of 255
    assert (colours[2].saturation, colours[3].hue) == ((0.5, 1.5), (-0.05, 0.05))  # 18 of 360 degrees
    assert parts[5].side_range == (1.0, 4.0)
    assert parts[6].options == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], "the released test never rejects"
    proper = transform(name, "segmenter.augment.crop_overlap=true").transforms[6]
    assert proper.options == [1.0, 0.0, 0.1, 0.3, 0.7, 0.9]


def test_what_comes_out_is_what_the_network_takes() -> None:
    cfg = recipe("yolact_coco")
    photo = tv_tensors.Image(torch.zeros(3, 60, 90, dtype=torch.uint8))
    box: Tensor = tv_tensors.BoundingBoxes([[10.0, 10, 40, 40]], format="XYXY", canvas_size=(60, 90))  # type: ignore[call-arg]
    for seed in range(3):
        made, _ = seeded(build.instance_transform(cfg.segmenter, mean=cfg.trunk.mean), seed, photo, box)
        assert made.shape == (3, 550, 550)
        mean = torch.tensor([123.68, 116.78, 103.94]).view(3, 1, 1) / 255
        outside = (made - mean).abs().amax(dim=0) < 1e-5
        assert outside.any() == (float((made > 0.3).float().mean()) > 0), "an expanded photo stands on the mean colour"
