"""Feature extractors: any of timm's, WideResNet-38 or YOLACT's DarkNet-53, with what is to stay frozen."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import timm
from jaxtyping import Float
from torch import Tensor, nn

from eps.errors import UserError
from eps.nn.darknet import DarkNet53
from eps.nn.deformable import make_deformable
from eps.nn.norms import batch_norms
from eps.nn.resnet38 import ResNet38

RESNET38 = "resnet38"
YOLACT_DARKNET53 = "yolact_darknet53"
PYRAMID_STRIDES = (4, 8, 16, 32)


class _Network(NamedTuple):
    """A network that gives a list of features, and what is known of each of them."""

    body: nn.Module
    strides: list[int]
    channels: list[int]
    stage_ends: list[str]
    """Names of the modules that its stages end in, from the stem on."""


class Backbone(nn.Module):
    """Features of a network (a timm name, `resnet38` or `yolact_darknet53`) at the given strides, finest first.

    A coarsest stride below 32 is had by dilation. `deformable_every` makes the 3x3 convolution of every so many
    bottlenecks of the stages from stride 8 on a deformable one (YOLACT++; 0: none). `frozen_norm` keeps batch norms as
    they were loaded, statistics, scale and shift; `frozen_stages` keeps as many first stages so (EPS: all norms and two
    stages; YOLACT: norms where a device sees few photos). Raises `UserError` where a network cannot do what is asked.
    """

    def __init__(
        self,
        *,
        name: str,
        strides: Sequence[int] = PYRAMID_STRIDES,
        frozen_norm: bool = True,
        frozen_stages: int = 0,
        deformable_every: int = 0,
    ) -> None:
        super().__init__()
        network = _network(name, strides)
        if missing := [stride for stride in strides if stride not in network.strides]:
            raise UserError(f"trunk.backbone={name!r} has no features at stride {missing[0]}: choose another network")
        self.body = network.body
        # of several features with one stride the deepest
        deepest = {stride: i for i, stride in enumerate(network.strides)}
        self._taken = [deepest[stride] for stride in strides]
        self.channels = tuple(network.channels[i] for i in self._taken)
        if deformable_every:
            _deform(name, network, every=deformable_every)
        self.frozen_norm = frozen_norm
        self._freeze(name, network.stage_ends, frozen_stages)

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        if self.frozen_norm:
            for norm in batch_norms(self).values():
                norm.eval()
        return self

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        features: list[Tensor] = self.body(images)
        return [features[i] for i in self._taken]

    def _freeze(self, name: str, stage_ends: Sequence[str], stages: int) -> None:
        if stages > len(stage_ends):
            raise UserError(f"trunk.frozen_stages={stages}: {name} has {len(stage_ends)} stages")
        frozen = [*batch_norms(self).values()] if self.frozen_norm else []
        if stages:
            first = _modules_through(self.body, stage_ends[stages - 1])
            if not first:
                raise UserError(f"trunk.frozen_stages={stages}: which modules of {name} they are is not known; use 0")
            frozen += first
        for module in frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)


def _modules_through(body: nn.Module, end: str) -> list[nn.Module]:
    """Every module up to the one of this name and those in it, in the order of definition, which is that of use."""
    named = list(body.named_modules())
    last = max((i for i, (name, _) in enumerate(named) if name == end or name.startswith(f"{end}.")), default=-1)
    return [module for _, module in named[: last + 1]]


def _deform(name: str, network: _Network, *, every: int) -> None:
    ends = zip(network.stage_ends, network.strides, strict=False)
    stages = [network.body.get_submodule(end) for end, stride in ends if stride >= 8]
    try:
        make_deformable(stages, every=every)
    except ValueError as error:
        raise UserError(f"trunk.deformable_every={every}: {name} has none; use 0, or a ResNet") from error


def _network(name: str, strides: Sequence[int]) -> _Network:
    if name == RESNET38:
        return _resnet38(strides)
    if name == YOLACT_DARKNET53:
        ends = [f"stages.{i}" for i in range(len(DarkNet53.STRIDES))]
        return _Network(DarkNet53(), list(DarkNet53.STRIDES), list(DarkNet53.CHANNELS), ends)
    return _timm_network(name, strides)


def _resnet38(strides: Sequence[int]) -> _Network:
    if tuple(strides) != (ResNet38.stride,):
        raise UserError("trunk.backbone=resnet38 has one stride, 8: set trunk.output_stride=8 and trunk.head=identity")
    return _Network(ResNet38(), [ResNet38.stride], [ResNet38.channels], [stage[-1] for stage in ResNet38.stages])


def _timm_network(name: str, strides: Sequence[int]) -> _Network:
    if name not in timm.list_models():
        raise UserError(f"trunk.backbone={name!r} is not a timm model: choose one of timm.list_models()")
    coarsest = max(strides)
    dilated: dict[str, Any] = {} if coarsest == 32 else {"output_stride": coarsest}
    try:
        body = timm.create_model(name, features_only=True, pretrained=False, **dilated)
    except (TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError) as error:
        if not dilated:
            raise
        raise UserError(
            f"trunk.output_stride={coarsest}: {name} cannot be dilated; use 32, or another network"
        ) from error
    info: Any = body.feature_info
    ends = [_module_name(body, end) for end in info.module_name()]
    return _Network(body, info.reduction(), info.channels(), ends)


def _module_name(body: nn.Module, end: str) -> str:
    """What timm's feature extractor calls a module of the network: some flatten its name, or put it one level down."""
    known = {name for name, _ in body.named_modules()}
    return next((name for name in (end, end.replace(".", "_"), f"model.{end}") if name in known), end)
