import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eps.nn.prototype_head import PrototypeHead


def head(*, depth: int, upsample: bool, in_channels: int = 3) -> PrototypeHead:
    torch.manual_seed(0)
    return PrototypeHead(in_channels=in_channels, channels=5, prototypes=4, depth=depth, upsample=upsample).double()


def convolved(planes: np.ndarray, layer: torch.nn.Module) -> np.ndarray:
    """ReLU of a convolution with zero padding, one output value at a time."""
    weight, bias = (parameter.detach().numpy() for parameter in (layer.weight, layer.bias))  # type: ignore[operator,union-attr]
    kernel = weight.shape[-1]
    padded = np.pad(planes, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    result = np.zeros((len(weight), *planes.shape[1:]))
    for c, y, x in np.ndindex(result.shape):
        result[c, y, x] = max((padded[:, y : y + kernel, x : x + kernel] * weight[c]).sum() + bias[c], 0)
    return result


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("upsample", [False, True])
def test_equals_loops(depth: int, upsample: bool) -> None:
    made = head(depth=depth, upsample=upsample)
    features = torch.randn(1, 3, 5, 4, generator=torch.Generator().manual_seed(1)).double()
    planes = features[0].numpy()
    assert len(made.before) == depth
    for layer in made.before:
        planes = convolved(planes, layer)
    if made.after is not None:
        doubled = F.interpolate(torch.from_numpy(planes)[None], size=(10, 8), mode="bilinear", align_corners=False)
        planes = convolved(np.maximum(doubled[0].numpy(), 0), made.after)
    expected = convolved(planes, made.planes)
    np.testing.assert_allclose(made(features)[0].detach().numpy(), expected, atol=1e-12)
    assert (expected > 0).any()


@pytest.mark.parametrize(("upsample", "size"), [(False, (5, 7)), (True, (10, 14))])
def test_size_and_sign(upsample: bool, size: tuple[int, int]) -> None:
    planes = head(depth=3, upsample=upsample)(torch.randn(2, 3, 5, 7).double())
    assert planes.shape == (2, 4, *size)
    assert (planes >= 0).all()
    assert (planes == 0).any()


def test_batch_equals_singles() -> None:
    made, features = head(depth=2, upsample=True), torch.randn(3, 3, 4, 4).double()
    torch.testing.assert_close(made(features), torch.cat([made(one[None]) for one in features]))


def test_one_pixel() -> None:
    assert head(depth=1, upsample=True)(torch.zeros(1, 3, 1, 1).double()).shape == (1, 4, 2, 2)


def test_layout_in_memory_is_free() -> None:
    made, features = head(depth=1, upsample=False), torch.randn(2, 3, 6, 5).double()
    turned = features.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert not turned.is_contiguous()
    torch.testing.assert_close(made(turned), made(features))
