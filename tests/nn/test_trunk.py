import pytest
import torch

from eps.nn.backbone import Backbone
from eps.nn.fpn import FPN
from eps.nn.prototype_head import PrototypeHead
from eps.nn.trunk import IdentityTrunk, Trunk


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    torch.manual_seed(0)
    backbone = Backbone(name="test_efficientnet")
    fpn = FPN(in_channels=backbone.channels, channels=6)
    head = PrototypeHead(in_channels=6, channels=7, prototypes=5, depth=1, upsample=False)
    return Trunk(backbone=backbone, fpn=fpn, head=head).eval()


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_levels_and_prototypes(trunk: Trunk, size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size)
    output = trunk(images)
    grids = [tuple(-(-side // stride) for side in size) for stride in (4, 8, 16, 32)]
    assert [tuple(level.shape) for level in output.levels] == [(2, 6, *grid) for grid in grids]
    assert output.prototypes.shape == (2, 5, *grids[0])
    levels = trunk.fpn(trunk.backbone(images))
    assert torch.equal(output.prototypes, trunk.head(levels[0]))
    assert all(torch.equal(a, b) for a, b in zip(output.levels, levels, strict=True))


def test_batch_equals_singles(trunk: Trunk) -> None:
    images = torch.randn(3, 3, 33, 64)
    singles = torch.cat([trunk(image[None]).prototypes for image in images])
    torch.testing.assert_close(trunk(images).prototypes, singles, atol=1e-5, rtol=1e-4)


def test_layout_in_memory_is_free(trunk: Trunk) -> None:
    images = torch.randn(2, 3, 64, 64)
    last = images.contiguous(memory_format=torch.channels_last)
    flipped = images.flip(-1).as_strided(images.shape, images.flip(-1).stride())
    torch.testing.assert_close(trunk(last).prototypes, trunk(images).prototypes, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(trunk(flipped[..., ::2]).prototypes, trunk(flipped[..., ::2].clone()).prototypes)


def test_weights_lie_by_part(trunk: Trunk) -> None:
    """Stage 3 takes them over from stage 1 by these names."""
    assert {key.partition(".")[0] for key in trunk.state_dict()} == {"backbone", "fpn", "head"}


@pytest.mark.parametrize("stride", [8, 32])
def test_identity_gives_the_last_features(stride: int) -> None:
    trunk = IdentityTrunk(backbone=Backbone(name="test_resnet", strides=(stride,))).eval()
    images = torch.randn(2, 3, 64, 96)
    output = trunk(images)
    assert output.levels == []
    assert output.prototypes.shape == (2, trunk.prototypes, 64 // stride, 96 // stride)
    assert torch.equal(output.prototypes, trunk.backbone(images)[-1])
    assert {key.partition(".")[0] for key in trunk.state_dict()} == {"backbone"}
