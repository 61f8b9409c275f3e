"""The recorded outputs are tested where the whole classifier is: tests/checkpoints/test_eps_resnet38.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from eps.nn.resnet38 import BottleneckBlock, PlainBlock, ResNet38

GOLDEN = Path(__file__).parents[1] / "golden"


def net() -> ResNet38:
    with torch.device("meta"):
        return ResNet38()


def test_names_and_shapes_are_those_of_the_released_checkpoints() -> None:
    shapes = json.loads((GOLDEN / "resnet38_eps_state_dict.json").read_text())
    assert {key: list(tensor.shape) for key, tensor in net().state_dict().items()} == {
        key: shape for key, shape in shapes.items() if key != "fc8.weight"
    }


@pytest.mark.parametrize(("size", "grid"), [((64, 96), (8, 12)), ((81, 97), (11, 13)), ((1, 8), (1, 1))])
def test_stride_8(size: tuple[int, int], grid: tuple[int, int]) -> None:
    (features,) = net()(torch.zeros(2, 3, *size, device="meta"))
    assert features.shape == (2, 4096, *grid)


def test_stages_are_all_its_blocks_in_order() -> None:
    blocks = [block for stage in ResNet38.stages for block in stage]
    assert blocks == [name for name, _ in net().named_children()]


def test_dilation_stands_for_stride() -> None:
    dilated = {
        name: module.dilation[0]
        for name, module in net().named_modules()
        if isinstance(module, nn.Conv2d) and module.dilation != (1, 1)
    }
    assert dilated == {
        "b5.conv_branch2b1": 2,
        **{f"b5_{i}.conv_branch{branch}": 2 for i in (1, 2) for branch in ("2a", "2b1")},
        "b6.conv_branch2b1": 4,
        "b7.conv_branch2b1": 4,
    }


def test_dropout_of_the_last_blocks() -> None:
    rates = {name: m.p for name, m in net().named_modules() if isinstance(m, nn.Dropout2d)}
    assert rates == {"b6.dropout": 0.3, "b7.dropout": 0.5}


def activated(x: np.ndarray, norm: nn.BatchNorm2d) -> np.ndarray:
    """Batch norm of stored statistics, then ReLU, by the formula."""
    mean, var, weight, bias = (
        part.detach().numpy()[:, None, None]
        for part in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        if part is not None
    )
    return np.maximum((x - mean) / np.sqrt(var + 1e-5) * weight + bias, 0)


def convolved(x: np.ndarray, convolution: nn.Conv2d) -> np.ndarray:
    """By loops over output pixels and taps."""
    weight = convolution.weight.detach().numpy()
    stride, dilation, padding = convolution.stride[0], convolution.dilation[0], convolution.padding[0]
    assert not isinstance(padding, str)
    reach = weight.shape[2] // 2 * dilation
    assert padding == reach
    height, width = (-(-side // stride) for side in x.shape[1:])
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    out = np.zeros((len(weight), height, width))
    for y, x0, i, j in np.ndindex(height, width, *weight.shape[2:]):
        out[:, y, x0] += weight[:, :, i, j] @ padded[:, y * stride + i * dilation, x0 * stride + j * dilation]
    return out


def shaken(block: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for key, tensor in block.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "var" in key else -0.3))
    return block.eval()


@pytest.mark.parametrize(
    "block",
    [
        PlainBlock(3, 4, 5, stride=2),
        PlainBlock(3, 4, 3, stride=2),
        PlainBlock(3, 4, 3),
        PlainBlock(3, 4, 5, first_dilation=2, dilation=4),
    ],
)
def test_plain_block(block: PlainBlock) -> None:
    shaken(block)
    x = torch.randn(1, 3, 7, 10, generator=torch.Generator().manual_seed(0))
    active = activated(x[0].numpy(), block.bn_branch2a)
    branch = convolved(activated(convolved(active, block.conv_branch2a), block.bn_branch2b1), block.conv_branch2b1)
    shortcut = x[0].numpy() if block.conv_branch1 is None else convolved(active, block.conv_branch1)
    np.testing.assert_allclose(block(x)[0].detach().numpy(), branch + shortcut, rtol=1e-4, atol=1e-4)


def test_the_input_itself_is_the_shortcut_where_nothing_changes() -> None:
    assert PlainBlock(3, 4, 3).conv_branch1 is None
    assert PlainBlock(3, 4, 3, stride=2).conv_branch1 is not None


def test_bottleneck_block() -> None:
    block = BottleneckBlock(3, 8, dilation=4, dropout=0.5)
    shaken(block)
    x = torch.randn(1, 3, 7, 10, generator=torch.Generator().manual_seed(0))
    active = activated(x[0].numpy(), block.bn_branch2a)
    branch = activated(convolved(active, block.conv_branch2a), block.bn_branch2b1)
    branch = activated(convolved(branch, block.conv_branch2b1), block.bn_branch2b2)
    expected = convolved(branch, block.conv_branch2b2) + convolved(active, block.conv_branch1)
    np.testing.assert_allclose(block(x)[0].detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_bottleneck_drops_channels_while_training() -> None:
    block = BottleneckBlock(3, 8, dilation=1, dropout=0.5)
    shaken(block)
    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(block(x), block(x))
    block.dropout.train()
    torch.manual_seed(0)
    assert len({float(block(x).detach().sum()) for _ in range(20)}) > 5
