"""Batch norms that have stopped moving, taken into the convolutions before them."""

import copy
from collections import Counter
from typing import Any, TypeVar

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eps.nn.deformable import DeformableConv2d

Network = TypeVar("Network", bound=nn.Module)
Convolution = nn.Conv2d | DeformableConv2d
Norm = nn.BatchNorm2d


def folded(network: Network, example: Tensor) -> Network:
    """A copy for evaluation whose batch norms are part of the convolutions before them, where nothing else is between.

    `example` is a batch that the network can take; what follows what is seen by running it once. A norm stays where its
    input is no convolution's (pre-activation networks), or serves something else as well. The copy gives the same up to
    rounding. Source: Jacob et al., CVPR 2018, section 3.2.
    """
    made = copy.deepcopy(network).eval()
    names = {module: name for name, module in made.named_modules()}
    for convolution, norm in _pairs(made, example):
        _fold(convolution, norm)
        # of timm's norms the activation is left
        made.set_submodule(names[norm], norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity())
    return made


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[Convolution, Norm]]:
    """Each norm with the convolution whose output it alone takes; both run once."""
    trace = _Trace()
    handles = [
        module.register_forward_hook(trace.convolved)
        if isinstance(module, Convolution)
        else module.register_forward_pre_hook(trace.normed)
        for module in network.modules()
        if isinstance(module, Convolution) or type(module) in (nn.BatchNorm2d, BatchNormAct2d)
    ]
    try:
        with torch.no_grad(), trace:
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    return trace.pairs()


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Whose output goes where. Tensors are kept, so that no two have one identity."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs: list[tuple[Convolution, Tensor]] = []
        self.inputs: list[tuple[Norm, Tensor]] = []
        self.uses: Counter[int] = Counter()
        self.kept: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(leaf): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        self.uses.update(given.keys())
        self.kept.extend(given.values())
        return func(*args, **(kwargs or {}))

    def convolved(self, module: Convolution, args: tuple[Tensor, ...], output: Tensor) -> None:
        self.outputs.append((module, output))

    def normed(self, module: Norm, args: tuple[Tensor, ...]) -> None:
        self.inputs.append((module, args[0]))

    def pairs(self) -> list[tuple[Convolution, Norm]]:
        runs = Counter(id(module) for module, _ in (*self.outputs, *self.inputs))
        made = {id(output): module for module, output in self.outputs}
        return [
            (made[id(given)], norm)
            for norm, given in self.inputs
            if id(given) in made and self.uses[id(given)] == 1 and runs[id(norm)] == runs[id(made[id(given)])] == 1
        ]


def _fold(convolution: Convolution, norm: Norm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
