from math import floor

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from eps.nn.deformable import DeformableConv2d, make_deformable


def layer(*, stride: int = 1) -> DeformableConv2d:
    torch.manual_seed(0)
    made = DeformableConv2d(in_channels=2, channels=3, stride=stride).double()
    nn.init.normal_(made.bias)
    return made


def image(*, side: int = 6) -> torch.Tensor:
    return torch.randn(1, 2, side, side, generator=torch.Generator().manual_seed(1)).double()


def sampled(plane: np.ndarray, y: float, x: float) -> float:
    """Bilinear between pixels; what lies outside is zero."""
    total = 0.0
    for row in (floor(y), floor(y) + 1):
        for column in (floor(x), floor(x) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total += plane[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


@pytest.mark.parametrize("stride", [1, 2])
def test_equals_loops_over_taps(stride: int) -> None:
    made, x = layer(stride=stride), image()
    nn.init.normal_(made.conv_offset_mask.weight, std=0.3)
    nn.init.normal_(made.conv_offset_mask.bias, std=0.5)
    where = made.conv_offset_mask(x)[0].detach().numpy()
    weight, planes = made.weight.detach().numpy(), x[0].numpy()
    expected = np.zeros((3, *where.shape[1:]))
    for c, row, column in np.ndindex(expected.shape):
        total = made.bias[c].item()
        for tap in range(9):
            y = row * stride - 1 + tap // 3 + where[2 * tap, row, column]
            x_ = column * stride - 1 + tap % 3 + where[2 * tap + 1, row, column]
            strength = 1 / (1 + np.exp(-where[18 + tap, row, column]))
            for k in range(2):
                total += weight[c, k, tap // 3, tap % 3] * strength * sampled(planes[k], y, x_)
        expected[c, row, column] = total
    np.testing.assert_allclose(made(x)[0].detach().numpy(), expected, atol=1e-10)


def test_it_starts_as_half_the_plain_convolution() -> None:
    made, x = layer(), image()
    expected = F.conv2d(x, made.weight / 2, made.bias, padding=1)
    torch.testing.assert_close(made(x), expected)


def test_an_offset_of_one_pixel_moves_the_image() -> None:
    made, x = layer(), image()
    with torch.no_grad():
        made.conv_offset_mask.bias[1:18:2] = 1.0  # every tap looks one column further right
    moved = F.pad(x, (0, 1))[..., 1:]
    torch.testing.assert_close(made(x)[..., 1:], F.conv2d(moved, made.weight / 2, made.bias, padding=1)[..., 1:])


def test_gradients_reach_offsets_and_strengths() -> None:
    made = layer()
    made(image()).square().sum().backward()
    gradient = made.conv_offset_mask.bias.grad
    assert gradient is not None
    assert (gradient != 0).all()


@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "whole network"])
def test_half_precision_is_near(whole: bool) -> None:
    made, x = layer().float(), image().float()
    expected = made(x)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not whole):
        found = made.bfloat16()(x.bfloat16()) if whole else made(x.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


def test_every_third_block_and_its_weights_stay() -> None:
    net = timm.create_model("resnet50", features_only=True)
    stages = [net.layer2, net.layer3, net.layer4]
    old = net.layer3[3].conv2.weight.clone()
    strides = [block.conv2.stride[0] for stage in stages for block in stage]
    make_deformable(stages, every=3)
    blocks = [[i for i, b in enumerate(stage) if isinstance(b.conv2, DeformableConv2d)] for stage in stages]
    assert blocks == [[0, 3], [0, 3], [0]]
    assert torch.equal(net.layer3[3].conv2.weight, old)
    found = [b.conv2.stride if isinstance(b.conv2, DeformableConv2d) else b.conv2.stride[0] for s in stages for b in s]
    assert found == strides
    assert [tuple(f.shape[2:]) for f in net(torch.rand(1, 3, 64, 64))] == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]


@pytest.mark.parametrize(
    "stage",
    [
        nn.Sequential(nn.ReLU()),
        nn.Conv2d(2, 2, 3),
        timm.create_model("resnext50_32x4d", features_only=True).layer2,
        timm.create_model("test_resnet", features_only=True, output_stride=8).layer4,
    ],
    ids=["no convolution", "no blocks", "grouped", "dilated"],
)
def test_other_blocks_are_refused(stage: nn.Module) -> None:
    with pytest.raises(ValueError, match="3x3"):
        make_deformable([stage], every=1)
