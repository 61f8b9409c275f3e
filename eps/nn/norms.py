"""Which parts of a network are batch norms."""

from torch import nn


def batch_norms(network: nn.Module) -> dict[str, nn.Module]:
    """The batch norms of a network by name, of any dimension, timm's with an activation among them."""
    named = network.named_modules()
    return {name: module for name, module in named if isinstance(module, nn.modules.batchnorm._BatchNorm)}
