from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from eps.errors import UserError
from eps.nn.backbone import Backbone, load_initial_weights

NAME = "test_efficientnet"


def norms(backbone: Backbone) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def state_of(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = timm.create_model(NAME, pretrained=False).state_dict()
    return state


def same(backbone: Backbone, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, state[key]) for key, tensor in backbone.body.state_dict().items())


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (32, 200)])
def test_strides_finest_first(size: tuple[int, int]) -> None:
    backbone = Backbone(name=NAME).eval()
    features = backbone(torch.zeros(2, 3, *size))
    assert [f.shape[1] for f in features] == list(backbone.channels)
    for feature, stride in zip(features, (4, 8, 16, 32), strict=True):
        assert feature.shape[-2:] == tuple(-(-side // stride) for side in size)


def test_smallest_photo() -> None:
    assert [f.shape[-2:] for f in Backbone(name=NAME).eval()(torch.zeros(1, 3, 1, 1))] == [(1, 1)] * 4


def test_a_finer_stride_is_left_out() -> None:
    """ResNet has features at stride 2 as well."""
    backbone = Backbone(name="test_resnet").eval()
    assert backbone(torch.zeros(1, 3, 64, 64))[0].shape == (1, backbone.channels[0], 16, 16)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norm_keeps_statistics_but_learns(frozen: bool) -> None:
    backbone = Backbone(name=NAME, frozen_norm=frozen)
    backbone.train()
    assert backbone.body.training
    before = [norm.running_mean.clone() for norm in norms(backbone) if norm.running_mean is not None]
    features = backbone(torch.randn(2, 3, 64, 64))
    after = [norm.running_mean for norm in norms(backbone) if norm.running_mean is not None]
    assert before
    assert all(torch.equal(a, b) == frozen for a, b in zip(before, after, strict=True))
    sum(f.sum() for f in features).backward()
    assert all(norm.weight.grad is not None for norm in norms(backbone))


def test_evaluation_mode_passes_through_parents() -> None:
    backbone = Backbone(name=NAME, frozen_norm=True)
    parent = nn.Sequential(backbone)
    parent.train()
    assert not any(norm.training for norm in norms(backbone))
    parent.eval()
    assert not backbone.body.training


@pytest.mark.parametrize(
    ("name", "reason"), [("resnet_18", "not a timm model"), ("test_vit", "no features at stride 4")]
)
def test_unfit_network(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"trunk\.backbone='{name}' .*{reason}"):
        Backbone(name=name)


def test_none_leaves_the_weights() -> None:
    backbone = Backbone(name=NAME)
    before = {key: tensor.clone() for key, tensor in backbone.body.state_dict().items()}
    load_initial_weights(backbone, name=NAME, source="none")
    assert same(backbone, before)


@pytest.mark.parametrize("renamed", [False, True])
def test_weights_from_a_file(tmp_path: Path, renamed: bool) -> None:
    state = state_of(1)
    stored = {f"layer{i}" if renamed else key: tensor for i, (key, tensor) in enumerate(state.items())}
    torch.save(stored, tmp_path / "weights.pth")
    backbone = Backbone(name=NAME)
    assert not same(backbone, state)
    load_initial_weights(backbone, name=NAME, source=f"file:{tmp_path / 'weights.pth'}")
    assert same(backbone, state)


def test_order_counts_where_names_do_not_fit(tmp_path: Path) -> None:
    state = state_of(1)
    shuffled = {f"layer{i}": state[key] for i, key in enumerate(reversed(state))}
    torch.save(shuffled, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth are not those of test_efficientnet, by name or by order"):
        load_initial_weights(Backbone(name=NAME), name=NAME, source=f"file:{tmp_path / 'weights.pth'}")


def test_features_under_other_names_are_refused(tmp_path: Path) -> None:
    """ConvNeXt's feature extractor renames its stages."""
    torch.save(timm.create_model("test_convnext", pretrained=False).state_dict(), tmp_path / "weights.pth")
    source = f"file:{tmp_path / 'weights.pth'}"
    with pytest.raises(UserError, match=r"lack 'stem_0\.weight'"):
        load_initial_weights(Backbone(name="test_convnext"), name="test_convnext", source=source)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"", "not a file of torch.save"),
        (b"PK\x03\x04 cut off", "not a file of torch.save"),
        ({"state_dict": {"a": torch.zeros(1)}}, "no state dict"),
        (torch.zeros(3), "no state dict"),
    ],
)
def test_unusable_file(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=rf"trunk\.weights.*weights\.pth .*{reason}"):
        load_initial_weights(Backbone(name=NAME), name=NAME, source=f"file:{path}")


@pytest.mark.parametrize("source", ["", "imagnet", "file:", "package:", "url:http://x"])
def test_unknown_source(source: str) -> None:
    with pytest.raises(UserError, match="use imagenet, package:NAME, file:PATH or none"):
        load_initial_weights(Backbone(name=NAME), name=NAME, source=source)


def test_weights_from_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "carries_weights"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").touch()
    backbone, source = Backbone(name=NAME), "package:carries_weights"
    with pytest.raises(UserError, match=r"0 \.pth files in it, one is needed"):
        load_initial_weights(backbone, name=NAME, source=source)
    state = state_of(2)
    torch.save(state, package / "inner" / "weights.pth")
    load_initial_weights(backbone, name=NAME, source=source)
    assert same(backbone, state)
    torch.save(state, package / "more.pth")
    with pytest.raises(UserError, match=r"2 \.pth files in it"):
        load_initial_weights(backbone, name=NAME, source=source)


@pytest.mark.parametrize("name", ["no_such_thing", "no_such_thing.inner", "json.decoder.inner"])
def test_missing_package(name: str) -> None:
    with pytest.raises(UserError, match=rf"trunk\.weights=package:{name}: no such package is installed"):
        load_initial_weights(Backbone(name=NAME), name=NAME, source=f"package:{name}")


def test_imagenet_fits_networks_that_rename_their_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded here: timm is asked for random weights instead."""
    create = timm.create_model
    backbone = Backbone(name="test_convnext")
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **more: create(name, pretrained=False, **more))
    before = backbone.body.state_dict()["stages_0.blocks.0.mlp.fc1.weight"].clone()
    load_initial_weights(backbone, name="test_convnext", source="imagenet")
    assert not torch.equal(backbone.body.state_dict()["stages_0.blocks.0.mlp.fc1.weight"], before)


def test_imagenet_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **more: object) -> None:
        raise FileNotFoundError("Check your\nconnection")

    backbone = Backbone(name=NAME)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"^trunk\.weights=imagenet: timm cannot get .*: Check your connection$"):
        load_initial_weights(backbone, name=NAME, source="imagenet")
