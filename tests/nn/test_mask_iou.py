import numpy as np
import pytest
import torch

from eps.nn.mask_iou import MaskIoUNet


@pytest.fixture(scope="module")
def net() -> MaskIoUNet:
    torch.manual_seed(0)
    made = MaskIoUNet(classes=4).double()
    for convolution in made.convolutions:
        torch.nn.init.normal_(convolution.bias, std=0.1)  # type: ignore[arg-type]
    return made


def masks(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(1)).double()


def scored(planes: np.ndarray, net: MaskIoUNet) -> np.ndarray:
    """One output value at a time: stride 2, no padding, ReLU; the last 1x1; the maximum."""
    *strided, last = net.convolutions
    for layer in strided:
        weight, bias = (p.detach().numpy() for p in (layer.weight, layer.bias))  # type: ignore[union-attr,operator]
        height, width = ((side - 3) // 2 + 1 for side in planes.shape[1:])
        result = np.zeros((len(weight), height, width))
        for c, y, x in np.ndindex(result.shape):
            result[c, y, x] = max((planes[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3] * weight[c]).sum() + bias[c], 0)
        planes = result
    weight, bias = (p.detach().numpy() for p in (last.weight, last.bias))  # type: ignore[union-attr,operator]
    maps = np.einsum("ck,khw->chw", weight[:, :, 0, 0], planes) + bias[:, None, None]
    return np.maximum(maps, 0).max(axis=(1, 2))


@pytest.mark.parametrize("size", [(63, 63), (72, 100)])
def test_equals_loops(net: MaskIoUNet, size: tuple[int, int]) -> None:
    x = masks(1, *size)
    np.testing.assert_allclose(net(x)[0].detach().numpy(), scored(x[0].numpy(), net), atol=1e-12)


def test_batch_equals_singles(net: MaskIoUNet) -> None:
    x = masks(3, 70, 64)
    torch.testing.assert_close(net(x), torch.cat([net(one[None]) for one in x]))


def test_small_masks_are_padded(net: MaskIoUNet) -> None:
    small = masks(2, 16, 40)
    wide = torch.zeros(2, 1, 63, 63, dtype=torch.float64)
    wide[:, :, :16, :40] = small
    assert torch.equal(net(small), net(wide))


def test_no_mask(net: MaskIoUNet) -> None:
    assert net(masks(0, 138, 138)).shape == (0, 4)
