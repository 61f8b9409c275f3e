import pytest
import torch
from torch import nn

from eps.errors import UserError
from eps.nn.backbone import Backbone
from eps.nn.deformable import DeformableConv2d

NAME = "test_efficientnet"


def norms(backbone: Backbone) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


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


def learning(backbone: Backbone) -> set[str]:
    return {name.removeprefix("body.") for name, p in backbone.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_stay_as_they_were_loaded(frozen: bool) -> None:
    backbone = Backbone(name=NAME, frozen_norm=frozen)
    backbone.train()
    assert backbone.body.training
    before = [norm.running_mean.clone() for norm in norms(backbone) if norm.running_mean is not None]
    features = backbone(torch.randn(2, 3, 64, 64))
    after = [norm.running_mean for norm in norms(backbone) if norm.running_mean is not None]
    assert before
    assert all(torch.equal(a, b) == frozen for a, b in zip(before, after, strict=True))
    sum(f.sum() for f in features).backward()
    assert all((norm.weight.grad is None) == (norm.bias.grad is None) == frozen for norm in norms(backbone))
    assert all(p.grad is not None for p in backbone.parameters() if p.ndim > 1)


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


@pytest.mark.parametrize("name", [NAME, "test_resnet", "test_convnext"])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_last_features_at_a_chosen_stride(name: str, stride: int) -> None:
    backbone = Backbone(name=name, strides=(stride,)).eval()
    (features,) = backbone(torch.zeros(1, 3, 64, 96))
    assert features.shape == (1, backbone.channels[0], 64 // stride, 96 // stride)
    assert backbone.channels == Backbone(name=name).channels[-1:], "they are the network's deepest, whatever the stride"


def test_dilation_keeps_the_weights_names_and_shapes() -> None:
    shapes = [
        {key: tensor.shape for key, tensor in Backbone(name=NAME, strides=strides).state_dict().items()}
        for strides in ((4, 8, 16, 32), (8,))
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["test_vit", "vgg11"])
def test_a_network_that_cannot_be_dilated(name: str) -> None:
    with pytest.raises(UserError, match=rf"^trunk\.output_stride=8: {name} cannot be dilated"):
        Backbone(name=name, strides=(8,))


@pytest.mark.parametrize(
    ("name", "stages", "frozen", "next_one"),
    [
        ("test_resnet", 1, ("conv1",), "layer1"),
        ("test_resnet", 2, ("conv1", "layer1"), "layer2"),
        (NAME, 1, ("conv_stem", "blocks.0"), "blocks.1"),
        ("test_convnext", 1, ("stem_0", "stages_0"), "stages_1"),
    ],
)
def test_frozen_stages(name: str, stages: int, frozen: tuple[str, ...], next_one: str) -> None:
    free, some = (learning(Backbone(name=name, frozen_norm=False, frozen_stages=n)) for n in (0, stages))
    assert free == {key for key, _ in Backbone(name=name).body.named_parameters()}
    for part in frozen:
        assert any(key.startswith(f"{part}.") for key in free)
        assert not any(key.startswith(f"{part}.") for key in some)
    assert any(key.startswith(f"{next_one}.") for key in some)


def test_darknet_has_yolacts_levels() -> None:
    found = Backbone(name="yolact_darknet53", strides=(8, 16, 32))(torch.rand(1, 3, 64, 96))
    assert [tuple(feature.shape[1:]) for feature in found] == [(256, 8, 12), (512, 4, 6), (1024, 2, 3)]


def test_deformable_convolutions_from_stride_8_on() -> None:
    backbone = Backbone(name="test_resnet", deformable_every=1)
    deformable = [name for name, module in backbone.body.named_modules() if isinstance(module, DeformableConv2d)]
    assert deformable == ["layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"]


@pytest.mark.parametrize(
    ("name", "strides"), [("test_efficientnet", (8, 16, 32)), ("resnet38", (8,)), ("yolact_darknet53", (8, 16, 32))]
)
def test_networks_without_bottlenecks_cannot_be_deformed(name: str, strides: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=rf"trunk\.deformable_every=1: {name} has none"):
        Backbone(name=name, strides=strides, deformable_every=1)


def test_too_many_frozen_stages() -> None:
    with pytest.raises(UserError, match=r"^trunk\.frozen_stages=6: test_resnet has 5 stages$"):
        Backbone(name="test_resnet", frozen_stages=6)


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (16,)])
def test_resnet38_has_one_stride(strides: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"has one stride, 8: set trunk\.output_stride=8 and trunk\.head=identity"):
        Backbone(name="resnet38", strides=strides)


def test_resnet38_with_eps_frozen_parts() -> None:
    with torch.device("meta"):
        backbone = Backbone(name="resnet38", strides=(8,), frozen_norm=True, frozen_stages=2)
    assert backbone.channels == (4096,)
    blocks = {key.split(".")[0] for key in learning(backbone)}
    assert blocks == {f"b{stage}" for stage in (3, 4, 5, 6, 7)} | {
        *("b3_1", "b3_2", "b4_1", "b4_2", "b4_3", "b4_4", "b4_5", "b5_1", "b5_2")
    }
    assert not any("bn" in key for key in learning(backbone))
