"""What `eps.train_seg` says of configs that were put together by hand, and what it makes of DeepLab's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eps import build, build_training, segmenter_tasks
from eps.checkpoints.yolact_specs import SPECS
from eps.cli import compose
from eps.engine.inference import as_tensor
from eps.models.spec import build_segmenter
from eps.nn.backbone import Backbone
from eps.schema import Config
from eps.segmenter_tasks import oddities
from eps.train_seg import _settings


@pytest.mark.parametrize("name", SPECS)
def test_released_recipes_are_not_odd(name: str) -> None:
    assert list(oddities(SPECS[name])) == []


def test_scales_of_another_size_are_told() -> None:
    [line] = oddities(replace(SPECS["yolact_base"], image_size=(400, 400)))
    assert "segmenter.scales are yolact_base's for 550 px, segmenter.image_size is 400 x 400" in line
    assert line.endswith("segmenter.scales=[[17.5],[34.9],[69.8],[139.6],[279.3]]")
    own = replace(SPECS["yolact_base"], image_size=(400, 400), scales=((20.0,), (40.0,), (80.0,), (160.0,), (320.0,)))
    assert list(oddities(own)) == []


def test_masks_rated_without_deformable_convolutions_are_told() -> None:
    [line] = oddities(replace(SPECS["yolact_plus_base"], trunk=SPECS["yolact_resnet50"].trunk))
    assert "trunk.deformable_every=0" in line
    assert "trunk=yolact_plus_resnet50" in line


def test_mask_coefficients_are_as_small_as_planes_are_large() -> None:
    """However large stage 1 has made them, the products that masks are summed of begin at the same size."""
    model, spec = build.segmenter(compose("experiment=tiny", "data.root=somewhere"), ("cat", "dog"))
    assert spec.coefficient_scale == model.box_head.coefficient_scale == 1
    height, width = spec.image_size
    noise = np.random.default_rng(0).integers(256, size=(3, height, width, 3), dtype=np.uint8)
    photos = [Image.fromarray(photo) for photo in noise]
    with torch.no_grad():
        planes = model.eval().trunk(model.normalize(torch.stack([as_tensor(photo) for photo in photos]))).prototypes
    for wanted in (0.5, 5.0, 50.0):
        with torch.no_grad():
            for one in model.trunk.head.planes.parameters():
                one *= wanted / planes.std()
        planes *= wanted / planes.std()
        scaled = segmenter_tasks._scaled(model, spec, photos)
        assert scaled.coefficient_scale == pytest.approx(min(1 / wanted, 1), rel=0.05)
        assert model.box_head.coefficient_scale == scaled.coefficient_scale
    assert build_segmenter(scaled).box_head.coefficient_scale == scaled.coefficient_scale


@pytest.mark.parametrize("scale", [0.0, -1.0, 2.0, float("nan")])
def test_a_description_with_another_scale_is_none(scale: float) -> None:
    with pytest.raises(ValueError, match=f"not at most {scale}"):
        replace(SPECS["yolact_base"], coefficient_scale=scale)


def on_trunk(*overrides: str) -> Config:
    deeplab = ("segmenter=deeplab", "segmenter.deeplab.backbone=trunk", "segmenter.deeplab.output_stride=16")
    return compose("experiment=tiny", "data.root=somewhere", *deeplab, *overrides)


def test_deeplab_on_the_trunk_has_its_network_weights_and_colours(tmp_path: Path) -> None:
    plain = Backbone(name="test_efficientnet").body.state_dict()
    torch.save({key: torch.full_like(tensor, 2) for key, tensor in plain.items()}, tmp_path / "published.pth")
    trunk = (f"trunk.weights=file:{tmp_path / 'published.pth'}", "trunk.std=[0.1,0.2,0.3]", "trunk.frozen_norm=true")
    model, spec = build.deeplab(on_trunk(*trunk, "trunk.frozen_stages=1"), ("cat", "dog"))
    assert all((tensor == 2).all() for tensor in model.backbone.state_dict().values())
    assert spec.trunk is not None
    assert (spec.trunk.backbone, spec.trunk.output_stride, spec.trunk.frozen_stages) == ("test_efficientnet", 16, 1)
    assert spec.mean == (0.5, 0.5, 0.5)
    photos = torch.full((1, 3, 2, 2), 0.7)
    torch.testing.assert_close(model.normalize(photos)[0, :, 0, 0], torch.tensor([2.0, 1.0, 2 / 3]))


def test_rates_of_deeplab_on_the_trunk() -> None:
    """The backbone's and the head's are scaled apart; what is frozen learns at none."""
    cfg = on_trunk("segmenter.optim.lr=1", "segmenter.optim.backbone_scale=0.1", "segmenter.optim.last_scale=3")
    model, _ = build.deeplab(cfg, ("cat", "dog"))
    made, _ = build_training.optimizer(cfg.segmenter.optim, model, last=list(model.head.parameters()), steps=2)
    rate_of = {id(one): group["initial_lr"] for group in made.param_groups for one in group["params"]}
    learning = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert {name.split(".")[0] for name in learning} == {"backbone", "head"}
    for name, one in learning.items():
        assert rate_of[id(one)] == pytest.approx(0.1 if name.startswith("backbone") else 3)


def test_what_deeplab_is_trained_by() -> None:
    """A trunk is part of it where it stands on one: its network, and nothing that else stands there."""

    def same(cfg: Config, **changes: object) -> bool:
        """Whether other values, of `trunk` but for those that DeepLab has, leave what trains it as it is."""
        of_deeplab = {key: value for key, value in changes.items() if hasattr(cfg.segmenter.deeplab, key)}
        node = replace(cfg.segmenter, deeplab=replace(cfg.segmenter.deeplab, **of_deeplab))  # type: ignore[arg-type]
        of_trunk = {key: value for key, value in changes.items() if key not in of_deeplab}
        other = replace(cfg, segmenter=node, trunk=replace(cfg.trunk, **of_trunk))  # type: ignore[arg-type]
        return _settings(other) == _settings(cfg)

    cfg = on_trunk()
    assert same(cfg, prototypes=4, weights="file:other.pth", test_flip=True)
    assert not same(cfg, frozen_stages=1)
    assert not same(cfg, output_stride=8)
    weights = replace(cfg.trunk, weights="imagenet")
    assert _settings(replace(cfg, trunk=weights)) != _settings(cfg)
    on_resnet = on_trunk("segmenter.deeplab.backbone=resnet50", "segmenter.deeplab.output_stride=8")
    assert same(on_resnet, prototypes=4, frozen_stages=1)
    assert not same(on_resnet, weights="file:other.pth")
