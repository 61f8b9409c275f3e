"""Published weights that training starts a backbone from."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import timm
from torch import Tensor

from eps.checkpoints.mxnet import read_params, resnet38_state
from eps.checkpoints.yolact import backbone_state
from eps.data.artifacts import file_hash
from eps.errors import UserError, one_line
from eps.nn.backbone import RESNET38, YOLACT_DARKNET53, Backbone
from eps.nn.deformable import added_keys
from eps.nn.weights import fitted, read_state_dict


def load_initial_weights(backbone: Backbone, *, name: str, source: str) -> None:
    """Start a backbone from published weights, in place.

    `source` is `imagenet` (timm downloads them), `package:NAME` (an installed Python package that carries one .pth
    file), `file:PATH` (a state dict), `mxnet:PATH` (MXNet's .params, for resnet38) or `none`. A state dict of another
    naming is accepted if it is that of a released YOLACT's backbone, or if its tensors stand in timm's order with
    timm's shapes. What a deformable convolution has beyond a plain one stays where the weights are those of a plain
    one. Raises `UserError` where they do not fit.
    """
    if source != "none":
        own = backbone.body.state_dict()
        added = added_keys(backbone.body)
        state = _initial_state(name, source, plain=[key for key in own if key not in added], added=added)
        wanted = {key: tensor for key, tensor in own.items() if key not in added or key in state}
        fit = fitted(state, wanted, source=f"trunk.weights={source} for {name}", exactly=False)
        backbone.body.load_state_dict(own | fit)


def other_normalization(name: str, *, mean: Sequence[float], std: Sequence[float]) -> str:
    """What to say where photos are not normalised as those that timm's weights of a backbone have learnt from."""
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if known is None or (tuple(mean), tuple(std)) == (known.mean, known.std):
        return ""
    learnt = f"trunk.mean={list(known.mean)} and trunk.std={list(known.std)}"
    return f"trunk.weights=imagenet: {name} has learnt from photos normalised by {learnt}, which this run does not have"


def weights_hash(source: str) -> str:
    """The SHA-256 of the file that a setting of weights names, a package's too; empty for a download, or where none is.

    Settings name files by their path; what lies there may change.
    """
    kind, _, where = source.partition(":")
    files = (_packaged_files(where) or []) if kind == "package" else [Path(where)] if where else []
    return file_hash(files[0]) if len(files) == 1 and files[0].is_file() else ""


def _initial_state(name: str, source: str, *, plain: Sequence[str], added: Collection[str]) -> Mapping[str, Tensor]:
    kind, _, where = source.partition(":")
    if kind == "imagenet":
        return _downloaded_state(name)
    if kind == "mxnet" and where:
        return _mxnet_state(Path(where), name=name)
    if kind in ("package", "file") and where:
        path = _packaged_weights(where) if kind == "package" else Path(where)
        return _file_state(path, name=name, plain=plain, added=added)
    raise UserError(f"trunk.weights={source!r} is not known: use imagenet, package:NAME, file:PATH, mxnet:PATH or none")


def _downloaded_state(name: str) -> Mapping[str, Tensor]:
    if name in (RESNET38, YOLACT_DARKNET53):
        other = "mxnet:PATH or file:PATH" if name == RESNET38 else "file:PATH"
        raise UserError(f"trunk.weights=imagenet: timm has no {name}; use {other}")
    try:
        body = timm.create_model(name, features_only=True, pretrained=True)
    except (OSError, RuntimeError) as error:
        told = f"trunk.weights=imagenet: timm cannot get the weights of {name}: {one_line(error)}"
        raise UserError(told) from error
    state: Mapping[str, Tensor] = body.state_dict()
    return state


def _mxnet_state(path: Path, *, name: str) -> Mapping[str, Tensor]:
    if name != RESNET38:
        raise UserError(f"trunk.weights=mxnet:{path}: only trunk.backbone=resnet38 starts from MXNet's weights")
    return resnet38_state(read_params(path))


def _packaged_weights(package: str) -> Path:
    files = _packaged_files(package)
    if files is None:
        raise UserError(f"trunk.weights=package:{package}: it is not installed: pip install {package}, or choose none")
    if len(files) != 1:
        raise UserError(f"trunk.weights=package:{package}: {len(files)} .pth files in it, one is needed; use file:PATH")
    return files[0]


def _packaged_files(package: str) -> list[Path] | None:
    """The .pth files of an installed package; None where there is no such package."""
    try:
        spec = find_spec(package.replace("-", "_"))  # as it is called where it comes from
    except (ImportError, ValueError):  # it imports what stands before the last dot
        spec = None
    if spec is None or not spec.submodule_search_locations:
        return None
    return sorted(f for root in spec.submodule_search_locations for f in Path(root).rglob("*.pth"))


def _file_state(path: Path, *, name: str, plain: Sequence[str], added: Collection[str]) -> Mapping[str, Tensor]:
    loaded = read_state_dict(path, setting="trunk.weights")
    if released := backbone_state(loaded, [*plain, *added]):
        return released
    named = {key for key in plain if not key.endswith(".num_batches_tracked")} <= set(loaded)
    if named or name in (RESNET38, YOLACT_DARKNET53):
        return loaded
    return _by_timms_order(loaded, path, name=name)


def _by_timms_order(loaded: Mapping[str, Tensor], path: Path, *, name: str) -> Mapping[str, Tensor]:
    wanted = timm.create_model(name, pretrained=False).state_dict()
    if set(wanted) <= set(loaded):
        return loaded
    if _shapes(loaded.values()) != _shapes(wanted.values()):
        raise UserError(f"trunk.weights: the tensors of {path.name} are not those of {name}, by name or by order")
    return dict(zip(wanted, loaded.values(), strict=True))


def _shapes(tensors: Iterable[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(t.shape) for t in tensors]
