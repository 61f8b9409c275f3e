"""Feature extractors from timm, with weights from timm, a package, a file, or none."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eps.errors import UserError


class Backbone(nn.Module):
    """Features of a timm network at strides 4, 8, 16 and 32, finest first.

    `frozen_norm` keeps batch norms at their stored statistics while training (EPS and YOLACT both do so where a device
    sees few photos).
    """

    def __init__(self, *, name: str, frozen_norm: bool = True) -> None:
        super().__init__()
        if name not in timm.list_models():
            raise UserError(f"trunk.backbone={name!r} is not a timm model: choose one of timm.list_models()")
        self.body = timm.create_model(name, features_only=True, pretrained=False)
        info: Any = self.body.feature_info
        reductions: list[int] = info.reduction()
        missing = {4, 8, 16, 32} - set(reductions)
        if missing:
            raise UserError(f"trunk.backbone={name!r} has no features at stride {min(missing)}: choose another network")
        self._taken = [reductions.index(stride) for stride in (4, 8, 16, 32)]
        channels: list[int] = info.channels()
        self.channels = tuple(channels[i] for i in self._taken)
        self.frozen_norm = frozen_norm

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        if self.frozen_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        features: list[Tensor] = self.body(images)
        return [features[i] for i in self._taken]


def load_initial_weights(backbone: Backbone, *, name: str, source: str) -> None:
    """Start a backbone from published weights, in place.

    `source` is `imagenet` (timm downloads them), `package:NAME` (an installed Python package that carries one .pth
    file), `file:PATH` (a state dict) or `none`. A state dict of another naming is accepted if its tensors stand in
    timm's order with timm's shapes. Raises `UserError` where they do not fit.
    """
    kind, _, where = source.partition(":")
    if kind == "none":
        return
    state: Mapping[str, Tensor]
    if kind == "imagenet":
        state = _downloaded_state(name)
    elif kind in ("package", "file") and where:
        path = _packaged_weights(where) if kind == "package" else Path(where)
        state = _read_state(path, name=name)
    else:
        raise UserError(f"trunk.weights={source!r} is not known: use imagenet, package:NAME, file:PATH or none")
    wanted = backbone.body.state_dict()
    missing = [key for key in wanted if key not in state]
    if missing:
        raise UserError(f"trunk.weights={source!r} lack {missing[0]!r} ({len(missing)} tensors in all) of {name}")
    backbone.body.load_state_dict({key: state[key] for key in wanted})


def _downloaded_state(name: str) -> Mapping[str, Tensor]:
    try:
        body = timm.create_model(name, features_only=True, pretrained=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"trunk.weights=imagenet: timm cannot get the weights of {name}: {reason}") from error
    state: Mapping[str, Tensor] = body.state_dict()
    return state


def _packaged_weights(package: str) -> Path:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # it imports what stands before the last dot
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"trunk.weights=package:{package}: no such package is installed; install it, or choose none")
    files = sorted(f for root in spec.submodule_search_locations for f in Path(root).rglob("*.pth"))
    if len(files) != 1:
        raise UserError(f"trunk.weights=package:{package}: {len(files)} .pth files in it, one is needed; use file:PATH")
    return files[0]


def _read_state(path: Path, *, name: str) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(f"trunk.weights: {path} does not exist")
    loaded = _loaded(path)
    wanted = timm.create_model(name, pretrained=False).state_dict()
    if set(wanted) <= set(loaded):
        return loaded
    if _shapes(loaded.values()) != _shapes(wanted.values()):
        raise UserError(f"trunk.weights: the tensors of {path.name} are not those of {name}, by name or by order")
    return dict(zip(wanted, loaded.values(), strict=True))


def _loaded(path: Path) -> Mapping[str, Tensor]:
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its readers do
        raise UserError(f"trunk.weights: {path} is not a file of torch.save: {type(error).__name__}") from error
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"trunk.weights: {path} holds no state dict, which maps names to tensors")
    return loaded


def _shapes(tensors: Iterable[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(t.shape) for t in tensors]
