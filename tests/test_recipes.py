"""The recipes of the papers: every number as published, or as released."""

import pytest
import torch
from torch import nn
from torchvision import tv_tensors

from eps import build, build_training
from eps.cli import compose
from eps.data.transforms import seeded
from eps.models.classifier import Classifier
from eps.nn.normalization import Normalization
from eps.schema import Config
from eps.schema.classifier import ClassifierKind, Pooling, SaliencyLoss
from eps.schema.trunk import TrunkHead

PAPERS = ["voc12_paper", "coco14_paper"]


def recipe(name: str, *overrides: str) -> Config:
    return compose(f"experiment={name}", "data.root=somewhere", "trunk.weights=none", *overrides)


def classifier(cfg: Config) -> Classifier:
    """Without memory for its weights."""
    with torch.device("meta"):
        return build.classifier(cfg, ("cat", "dog"))[0]


@pytest.mark.parametrize("name", PAPERS)
def test_rates_and_momentum_of_the_paper(name: str) -> None:
    """The network has no bias and its norms are frozen, so that two of the four groups are left."""
    cfg = recipe(name)
    model = classifier(cfg)
    optimizer, scheduler = build_training.optimizer(
        cfg.classifier.optim, model, last=[model.coefficients], steps=cfg.classifier.steps
    )
    assert isinstance(optimizer, torch.optim.SGD)
    weights, last = optimizer.param_groups
    assert [group["initial_lr"] for group in (weights, last)] == pytest.approx([0.01, 0.1])
    assert all(group["weight_decay"] == group["momentum"] == 5e-4 for group in (weights, last))
    assert [id(p) for p in last["params"]] == [id(model.coefficients)]
    learning = {id(p) for key, p in model.named_parameters() if not _is_frozen(key)}
    assert learning == {id(p) for group in (weights, last) for p in group["params"]}
    (factor, _), steps = scheduler.lr_lambdas, cfg.classifier.steps
    assert [factor(step) for step in (0, steps // 2, steps)] == pytest.approx([1, 0.5**0.9, 0])


def _is_frozen(key: str) -> bool:
    block = key.removeprefix("trunk.backbone.body.").split(".")[0]
    return block in ("conv1a", "b2", "b2_1", "b2_2", "bn7") or ".bn_" in key


@pytest.mark.parametrize("name", PAPERS)
def test_all_four_rates_where_there_are_biases(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1))
    optimizer, _ = build_training.optimizer(recipe(name).classifier.optim, model, last=model[1].parameters(), steps=10)
    assert [group["initial_lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.02, 0.1, 0.2])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-4, 0, 5e-4, 0]


@pytest.mark.parametrize(
    ("name", "crop", "long_side", "batch", "steps", "lam"),
    [("voc12_paper", 448, [256, 512], 8, 20_000, 0.5), ("coco14_paper", 321, [256, 448], 16, 256_500, 0.9)],
)
def test_numbers_of_the_paper(name: str, crop: int, long_side: list[int], batch: int, steps: int, lam: float) -> None:
    cfg = recipe(name)
    node, trunk, masks = cfg.classifier, cfg.trunk, cfg.pseudo_masks
    assert (node.augment.crop, node.augment.long_side, node.batch, node.steps) == (crop, long_side, batch, steps)
    assert (node.augment.flip, node.augment.jitter) == (0.5, [0.3, 0.3, 0.3, 0.1])
    assert (node.tau, node.lam, node.select_all, node.tag_weight, node.dropout) == (0.4, lam, 0, 1, 0)
    assert (node.kind, node.pooling) == (ClassifierKind.eps, Pooling.average)
    assert node.saliency_loss is SaliencyLoss.square
    assert (trunk.backbone, trunk.head, trunk.output_stride) == ("resnet38", TrunkHead.identity, 8)
    assert (trunk.frozen_norm, trunk.frozen_stages) == (True, 2)
    assert (masks.scales, masks.flip, masks.threshold) == ([0.5, 1, 1.5, 2], True, 0.2)


@pytest.mark.parametrize("name", PAPERS)
def test_the_baseline_is_trained_alike(name: str) -> None:
    paper, baseline = recipe(name), recipe(name, "classifier=cls_resnet38")
    assert (baseline.classifier.kind, baseline.classifier.dropout) == (ClassifierKind.cam, 0.5)
    assert baseline.classifier.optim == paper.classifier.optim
    assert baseline.classifier.augment == paper.classifier.augment
    model = classifier(baseline)
    assert (model.background, model.dropout, len(model.coefficients)) == (False, 0.5, 2)


@pytest.mark.parametrize("name", PAPERS)
def test_what_pads_a_photo_is_zero_once_it_is_normalised(name: str) -> None:
    cfg = recipe(name)
    augment, flat = cfg.classifier.augment, torch.full((3, 50, 500), 250, dtype=torch.uint8)
    transform = build.transform(augment)
    photo, saliency = seeded(transform, 0, tv_tensors.Image(flat), tv_tensors.Mask(flat[:1]))
    mean, std = (torch.tensor(values) for values in (cfg.trunk.mean, cfg.trunk.std))
    normalized = Normalization(mean=mean, std=std)(photo[None])[0]
    shown = (normalized != 0).all(dim=0)
    assert normalized.shape == (3, augment.crop, augment.crop)
    assert 20 <= shown.any(dim=1).sum() <= 52
    assert torch.equal(shown, saliency[0] == 250)
    assert not normalized[:, ~shown].any()


def test_our_own_recipe_takes_steps_as_long_as_the_papers() -> None:
    """A momentum of m lengthens steps by 1 / (1 - m)."""
    own, paper = (recipe(name).classifier.optim for name in ("voc12", "voc12_paper"))
    assert own.momentum == 0.9
    assert own.lr / (1 - own.momentum) == pytest.approx(paper.lr / (1 - paper.momentum), rel=1e-3)


def test_our_own_recipe_freezes_norms_and_has_a_prototype_head() -> None:
    cfg = recipe("voc12")
    model = classifier(cfg)
    assert (cfg.trunk.frozen_norm, cfg.trunk.head) == (True, TrunkHead.prototypes)
    assert model.coefficients.shape == (3, cfg.trunk.prototypes)
    default = compose().classifier
    assert (cfg.classifier.saliency_loss, cfg.classifier.pooling) == (default.saliency_loss, default.pooling)
