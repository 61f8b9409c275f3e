import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from eps.nn.fpn import FPN, ExtraLevels

Array = NDArray[np.float64]


def convolved(planes: Array, weight: Array, bias: Array, *, stride: int = 1) -> Array:
    """A 3x3 or 1x1 convolution with zero padding, one output value at a time."""
    out, _, kernel, _ = weight.shape
    pad = kernel // 2
    height, width = planes.shape[1:]
    padded = np.pad(planes, ((0, 0), (pad, pad), (pad, pad)))
    result = np.zeros((out, -(-height // stride), -(-width // stride)))
    for c, y, x in np.ndindex(result.shape):
        patch = padded[:, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
        result[c, y, x] = (patch * weight[c]).sum() + bias[c]
    return result


def enlarged(planes: Array, height: int, width: int) -> Array:
    """Bilinear, corners not aligned: pixel centres stay in proportion, beyond the outermost ones nothing changes."""
    result = np.zeros((len(planes), height, width))
    for y, x in np.ndindex(height, width):
        row = max((y + 0.5) * planes.shape[1] / height - 0.5, 0)
        column = max((x + 0.5) * planes.shape[2] / width - 0.5, 0)
        top, left = int(row), int(column)
        bottom, right = min(top + 1, planes.shape[1] - 1), min(left + 1, planes.shape[2] - 1)
        upper = planes[:, top, left] * (1 - column + left) + planes[:, top, right] * (column - left)
        lower = planes[:, bottom, left] * (1 - column + left) + planes[:, bottom, right] * (column - left)
        result[:, y, x] = upper * (1 - row + top) + lower * (row - top)
    return result


def weights(layer: torch.nn.Module) -> tuple[Array, Array]:
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()  # type: ignore[union-attr,operator]


def pyramid(seed: int = 0) -> tuple[FPN, list[torch.Tensor]]:
    torch.manual_seed(seed)
    fpn = FPN(in_channels=[2, 3, 4], channels=3).double()
    return fpn, [torch.randn(2, 2, 9, 7).double(), torch.randn(2, 3, 5, 4).double(), torch.randn(2, 4, 3, 2).double()]


def test_equals_loops() -> None:
    fpn, features = pyramid()
    sums: list[Array] = []
    for level in (2, 1, 0):
        plane = convolved(features[level][0].numpy(), *weights(fpn.laterals[level]))
        sums.append(plane + enlarged(sums[-1], *plane.shape[1:]) if sums else plane)
    for level, (made, total) in enumerate(zip(fpn(features), reversed(sums), strict=True)):
        expected = np.maximum(convolved(total, *weights(fpn.predictions[level])), 0)
        np.testing.assert_allclose(made[0].detach().numpy(), expected, atol=1e-12)
        assert (expected == 0).any()
        assert (expected > 0).any()


def test_coarse_levels_reach_fine_ones_alone() -> None:
    fpn, features = pyramid()
    before = fpn(features)
    features[0] = features[0] + 1
    changed = [not torch.equal(a, b) for a, b in zip(before, fpn(features), strict=True)]
    assert changed == [True, False, False]
    features[2] = features[2] + 1
    assert all(not torch.equal(a, b) for a, b in zip(before, fpn(features), strict=True))


def test_batch_equals_singles() -> None:
    fpn, features = pyramid()
    singles = [fpn([f[i : i + 1] for f in features]) for i in range(2)]
    for level, whole in enumerate(fpn(features)):
        torch.testing.assert_close(whole, torch.cat([single[level] for single in singles]))


def test_one_level() -> None:
    fpn = FPN(in_channels=[2], channels=5)
    (level,) = fpn([torch.randn(1, 2, 1, 1)])
    assert level.shape == (1, 5, 1, 1)


def test_levels_must_be_as_many_as_laterals() -> None:
    with pytest.raises(ValueError, match="zip"):
        pyramid()[0](pyramid()[1][1:])


def test_extra_levels_equal_loops() -> None:
    torch.manual_seed(0)
    extra = ExtraLevels(channels=2, levels=3).double()
    coarsest = torch.randn(1, 2, 7, 4).double()
    made, before = extra(coarsest), coarsest[0].numpy()
    assert [tuple(level.shape[-2:]) for level in made] == [(4, 2), (2, 1), (1, 1)]
    for level, convolution in zip(made, extra.convolutions, strict=True):
        before = convolved(before, *weights(convolution), stride=2)
        np.testing.assert_allclose(level[0].detach().numpy(), before, atol=1e-12)
    assert (made[0] < 0).any()  # no activation


def test_no_extra_level() -> None:
    assert ExtraLevels(channels=2, levels=0)(torch.zeros(1, 2, 3, 3)) == []
