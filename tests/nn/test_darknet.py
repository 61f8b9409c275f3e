import numpy as np
import pytest
import torch
from torch import nn

from eps.nn.darknet import DarkNet53


@pytest.fixture(scope="module")
def net() -> DarkNet53:
    torch.manual_seed(0)
    return DarkNet53().eval()


@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
def test_features(net: DarkNet53, size: tuple[int, int]) -> None:
    found = net(torch.rand(2, 3, *size))
    expected = [
        (2, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(net.CHANNELS, net.STRIDES, strict=True)
    ]
    assert [tuple(feature.shape) for feature in found] == expected


def test_it_has_53_layers_with_the_classifier_that_is_left_out(net: DarkNet53) -> None:
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) == 52


def convolved(planes: np.ndarray, layer: nn.Module, *, stride: int = 1) -> np.ndarray:
    """Convolution, batch norm in evaluation and leaky ReLU, one output value at a time."""
    convolution, norm, _ = layer  # type: ignore[misc]
    weight = convolution.weight.detach().numpy()
    kernel = weight.shape[-1]
    padded = np.pad(planes, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    result = np.zeros((len(weight), -(-planes.shape[1] // stride), -(-planes.shape[2] // stride)))
    for c, y, x in np.ndindex(result.shape):
        result[c, y, x] = (
            padded[:, y * stride : y * stride + kernel, x * stride : x * stride + kernel] * weight[c]
        ).sum()
    mean, variance = norm.running_mean.numpy()[:, None, None], norm.running_var.numpy()[:, None, None]
    scale, shift = (p.detach().numpy()[:, None, None] for p in (norm.weight, norm.bias))
    result = (result - mean) / np.sqrt(variance + norm.eps) * scale + shift
    return np.where(result > 0, result, 0.1 * result)


def test_the_first_stage_equals_loops(net: DarkNet53) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    image = torch.rand(1, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    stage = net.stages[0]
    planes = convolved(convolved(image[0].numpy(), net.stem), stage[0], stride=2)  # type: ignore[index]
    block = stage[1]  # type: ignore[index]
    planes = planes + convolved(convolved(planes, block.narrow), block.widen)
    found = stage(net.stem(image))
    np.testing.assert_allclose(found[0].detach().numpy(), planes, atol=1e-5)
