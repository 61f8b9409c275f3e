import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eps.nn.darknet import DarkNet53
from eps.nn.deformable import DeformableConv2d, make_deformable
from eps.nn.folding import folded
from eps.nn.resnet38 import BottleneckBlock, PlainBlock


def shaken(network: nn.Module) -> nn.Module:
    """Norms with statistics of their own, as after training."""
    generator = torch.Generator().manual_seed(0)
    for norm in norms(network):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.3, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
        for parameter in norm.parameters():
            nn.init.uniform_(parameter, 0.5, 1.5, generator=generator)
    return network.eval()


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def photos(channels: int = 3, side: int = 64) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))


def test_one_convolution_by_hand() -> None:
    """scale * (w x + b - mean) / sqrt(var + eps) + shift, number by number."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
    convolution, norm = network
    for tensor, value in ((convolution.weight, 3.0), (convolution.bias, 1.0), (norm.weight, 4.0), (norm.bias, 7.0)):
        nn.init.constant_(tensor, value)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(16.0)
    made = folded(network, torch.zeros(1, 1, 2, 2))
    assert made[0].weight.item() == pytest.approx(3 * 4 / 4, rel=1e-5)
    assert made[0].bias.item() == pytest.approx(4 * (1 - 2) / 4 + 7, rel=1e-5)
    assert isinstance(made[1], nn.Identity)
    assert (convolution.weight.item(), norm.running_mean.item()) == (3.0, 2.0)  # the network itself stays


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet"])
def test_networks_of_timm_have_no_norm_left(name: str) -> None:
    network = shaken(timm.create_model(name, features_only=True))
    made = folded(network, photos()[:1])
    assert norms(network)
    assert not norms(made)
    for ours, theirs in zip(made(photos(side=96)), network(photos(side=96)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.detach().abs().max()))
    assert len(made.state_dict()) < len(network.state_dict())


def test_darknet() -> None:
    network = shaken(DarkNet53())
    made = folded(network, photos(side=32)[:1])
    assert not norms(made)
    for ours, theirs in zip(made(photos(side=32)), network(photos(side=32)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.detach().abs().max()))


@pytest.mark.parametrize(
    ("block", "left"), [(PlainBlock(4, 8, 8), 1), (BottleneckBlock(4, 16, dilation=2, dropout=0.5), 1)]
)
def test_pre_activation_blocks_keep_their_first_norm(block: nn.Module, left: int) -> None:
    made = folded(shaken(block), photos(4, 8)[:1])
    assert len(norms(made)) == left < len(norms(block))
    torch.testing.assert_close(made(photos(4, 8)), block(photos(4, 8)), rtol=1e-4, atol=1e-5)


def test_deformable_convolutions() -> None:
    network = timm.create_model("resnet26", features_only=True)
    make_deformable([network.layer2], every=1)
    made = folded(shaken(network), photos()[:1])
    assert any(isinstance(module, DeformableConv2d) for module in made.modules())
    assert not norms(made)
    for ours, theirs in zip(made(photos()), network(photos()), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.detach().abs().max()))


class Odd(nn.Module):
    """A convolution that also serves a shortcut, one that is used twice, and a norm of an input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.served, self.twice = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.of_served, self.of_twice = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        made = self.served(x)
        x = F.relu(self.of_served(made)) + made
        return self.of_twice(self.twice(self.twice(x)))


def test_what_does_not_stand_alone_stays() -> None:
    network = shaken(Odd())
    made = folded(network, photos(side=4)[:1])
    assert len(norms(made)) == len(norms(network))
    torch.testing.assert_close(made(photos(side=4)), network(photos(side=4)), rtol=0, atol=0)


def test_a_network_in_training_is_left_so() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train()
    before = network[1].running_mean.clone()
    assert not folded(network, photos(side=4)).training
    assert network.training
    assert torch.equal(network[1].running_mean, before)
