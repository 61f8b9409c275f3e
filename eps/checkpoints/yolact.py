"""Released YOLACT and YOLACT++ networks, made of our own parts."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eps.checkpoints.yolact_specs import SPECS
from eps.data.class_names import class_names, unnamed
from eps.errors import UserError
from eps.models.segmenter import Segmenter
from eps.models.spec import SegmenterSpec, build_segmenter
from eps.nn.weights import fitted, read_state_dict

_FILE_NAME = re.compile(r"(\w+?)_(\d+)_(\d+)(_\w+)?\.pth")
_LEFT_BY_OLD_VERSIONS = re.compile(r"backbone\.layer\d+\.|fpn\.downsample_layers\.([2-9]|\d\d+)\.")


class ReleasedOutput(NamedTuple):
    """What the released network gives before detection."""

    loc: Float[Tensor, "b n 4"]
    """Box offsets from the priors, before decoding."""
    conf: Float[Tensor, "b n c1"]
    """Background first: probabilities, or while training logits."""
    mask: Float[Tensor, "b n k"]
    """Coefficients, tanh applied."""
    priors: Float[Tensor, "n 4"]
    """Anchors: centre and size, relative to the image."""
    proto: Float[Tensor, "b h w k"]


class ReleasedYolact(nn.Module):
    """A `Segmenter` with the outputs of the released code; `spec` rebuilds it, `notes` say what was adapted."""

    def __init__(self, *, segmenter: Segmenter, spec: SegmenterSpec, notes: Sequence[str] = ()) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.spec = spec
        self.notes = tuple(notes)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> ReleasedOutput:
        output = self.segmenter(images)
        return ReleasedOutput(
            loc=output.offsets,
            conf=output.logits if self.training else output.logits.softmax(dim=-1),
            mask=output.coefficients,
            priors=output.anchors,
            proto=output.prototypes.permute(0, 2, 3, 1),
        )

    def maskiou(self, masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n classes"]:
        """How well masks (cropped, in 0..1) fit, a class each. Raises `UserError` for a network of v1."""
        if self.segmenter.mask_iou is None:
            raise UserError("YOLACT has no mask-IoU net, only YOLACT++ has: load yolact_plus_base or _resnet50")
        predicted: Tensor = self.segmenter.mask_iou(masks)
        return predicted


class Told(NamedTuple):
    """What a file of the released code does not say of itself."""

    network: str | SegmenterSpec | None = None
    """A released model's name, or the description of another one; None to go by the file's name."""
    classes: tuple[str, ...] = ()
    """What its classes are called; empty to go by their number."""


class FileName(NamedTuple):
    """What a checkpoint's name says: `<model>_<epoch>_<iteration>.pth`."""

    model: str
    epoch: int
    iteration: int


def is_released_name(path: str | Path) -> bool:
    """Whether `parse_file_name` takes it."""
    found = _FILE_NAME.fullmatch(Path(path).name)
    return found is not None and found[1] in SPECS


def parse_file_name(path: str | Path) -> FileName:
    """Model, epoch and iteration from the name of a released checkpoint. Raises `UserError` for any other name."""
    found = _FILE_NAME.fullmatch(Path(path).name)
    if found is None or found[1] not in SPECS:
        raise UserError(
            f"{path}: its name must be <model>_<epoch>_<iteration>.pth with a model of {', '.join(SPECS)}; rename it, "
            "or say which one it is: released=yolact_base, in Python name='yolact_base' "
            "(a classifier of EPS is for eps.pseudo_masks model=FILE, or eps.checkpoints.load_released)"
        )
    return FileName(found[1], int(found[2]), int(found[3]))


def load_yolact_file(
    path: Path, told: Told | None = None, *, classes: Sequence[str] | int | None = None
) -> ReleasedYolact:
    """The model that a file's name says it is, or what is `told` of it; `classes` and errors are `load_yolact`'s.

    Raises `UserError` also where the file has more or fewer classes than names are told.
    """
    network, names = told or Told()
    network = parse_file_name(path).model if network is None else network
    made = load_yolact(network, read_state_dict(path, setting="model"), source=str(path), classes=classes)
    if not names:
        return made
    if len(names) != len(made.spec.classes):
        count = len(made.spec.classes)
        raise UserError(f"classes={list(names)}: these are {len(names)} names, {path} has {count} classes")
    return ReleasedYolact(segmenter=made.segmenter, spec=replace(made.spec, classes=names), notes=made.notes)


def start_from_released(model: Segmenter, *, path: Path, spec: SegmenterSpec) -> tuple[str, ...]:
    """Give a segmenter of this description the weights of a released file, in place; what was adapted, a line each.

    The file may be called anything. Raises `UserError` where it is of another network than the segmenter.
    """
    known = is_released_name(path)
    if not known and spec.design != "released":
        raise UserError(
            f"segmenter.weights=released:{path}: choose the network that it is, such as segmenter=yolact_base"
        )
    made = load_yolact_file(path, None if known else Told(network=spec), classes=spec.classes)
    network = f" (its network is segmenter={parse_file_name(path).model})" if known else ""
    state, source = made.segmenter.state_dict(), f"segmenter.weights=released:{path}{network}"
    model.load_state_dict(fitted(state, model.state_dict(), source=source, exactly=True))
    return made.notes


def backbone_state(state: Mapping[str, Tensor], keys: Iterable[str]) -> dict[str, Tensor]:
    """What a state dict has of these keys of a backbone's body under the names of a released YOLACT.

    Those are `backbone.layers.0...` in a checkpoint, `layers.0...` where a backbone was released alone. Empty where it
    has none that are only YOLACT's.
    """
    for prefix in ("backbone.", ""):
        names = {key: prefix + _released_key(_BODY + key).removeprefix("backbone.") for key in keys}
        found = {key: state[name] for key, name in names.items() if name in state}
        if any(names[key] != key for key in found):
            return found
    return {}


def load_yolact(
    network: str | SegmenterSpec,
    state: Mapping[str, Tensor],
    *,
    source: str,
    classes: Sequence[str] | int | None = None,
) -> ReleasedYolact:
    """A released model (by its name, or another description) with the weights of a state dict, in evaluation mode.

    The state dict may have another number of classes than the released ones: it is read off the tensors. `classes`
    (names, or how many) asks for others than it has: then what depends on them starts afresh, and `notes` says so. What
    old versions left in is dropped; the semantic head, which training alone needs, may be missing: then there are no
    semantic maps, and `notes` says so. Raises `UserError`, naming keys, where the tensors do not fit.
    """
    released = _known(network) if isinstance(network, str) else network
    wished = None if classes is None else _names(classes, released)
    kept = {key: tensor for key, tensor in state.items() if not _LEFT_BY_OLD_VERSIONS.match(key)}
    spec = replace(released, classes=_names(_class_count(kept, released), released))
    model = build_segmenter(spec)
    model.has_semantic = any(key.startswith(_SEMANTIC) for key in kept)
    ours = model.state_dict()
    places = {key: _released_key(key) for key in ours}
    if not model.has_semantic:
        places = {key: name for key, name in places.items() if not name.startswith(_SEMANTIC)}
    fit = fitted(
        kept,
        {places[key]: ours[key] for key in places},
        source=f"{source} as {network if isinstance(network, str) else 'this config describes it'}",
        exactly=True,
    )
    model.load_state_dict(ours | {key: fit[name] for key, name in places.items()})
    without = f"{source} has no {_SEMANTIC}: it finds instances, but has no semantic map; training starts that afresh"
    made = ReleasedYolact(segmenter=model, spec=spec, notes=() if model.has_semantic else (without,))
    return (made if wished is None else _adapted(made, wished)).eval()


def _known(name: str) -> SegmenterSpec:
    if name not in SPECS:
        raise UserError(f"no released YOLACT {name!r}: choose one of {', '.join(SPECS)}")
    return SPECS[name]


def _class_count(state: Mapping[str, Tensor], spec: SegmenterSpec) -> int:
    """How many classes a state dict has; where that cannot be said, the released number, which then will not fit."""
    rows = state.get("prediction_layers.0.conf_layer.bias", torch.empty(0)).numel()
    count, rest = divmod(rows, len(spec.scales[0]) * len(spec.ratios))
    return count - 1 if count > 1 and not rest else len(spec.classes)


def _names(classes: Sequence[str] | int, spec: SegmenterSpec) -> tuple[str, ...]:
    """Class names; of a number without names the released ones, if it is theirs.

    Raises `UserError` for what are no names, such as one that stands twice.
    """
    if isinstance(classes, int) and not isinstance(classes, bool) and classes > 0:
        return spec.classes if classes == len(spec.classes) else unnamed(classes)
    return class_names(classes)


def _adapted(made: ReleasedYolact, classes: tuple[str, ...]) -> ReleasedYolact:
    """The same network for other classes: if their number differs, the layers that depend on it start afresh."""
    spec = replace(made.spec, classes=classes)
    if len(classes) == len(made.spec.classes):
        return ReleasedYolact(segmenter=made.segmenter, spec=spec)
    fresh = build_segmenter(spec)
    fresh.has_semantic = made.segmenter.has_semantic
    old, new = made.segmenter.state_dict(), fresh.state_dict()
    changed = [key for key in new if new[key].shape != old[key].shape]
    fresh.load_state_dict({key: new[key] if key in changed else old[key] for key in new})
    layers = ", ".join(sorted({_released_key(key).rpartition(".")[0] for key in changed}))
    note = f"{len(made.spec.classes)} classes became {len(classes)}: {layers} start afresh"
    return ReleasedYolact(segmenter=fresh, spec=spec, notes=(*made.notes, note))


_SEMANTIC = "semantic_seg_conv"
_BODY = "trunk.backbone.body."
_KEYS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"trunk\.backbone\.body\.layer(\d)\.", lambda m: f"backbone.layers.{int(m[1]) - 1}."),
    (r"trunk\.backbone\.body\.stem\.", lambda m: "backbone._preconv."),
    (r"trunk\.backbone\.body\.stages\.(\d+\.\d+)\.narrow\.", lambda m: f"backbone.layers.{m[1]}.conv1."),
    (r"trunk\.backbone\.body\.stages\.(\d+\.\d+)\.widen\.", lambda m: f"backbone.layers.{m[1]}.conv2."),
    (r"trunk\.backbone\.body\.stages\.", lambda m: "backbone.layers."),
    (r"trunk\.backbone\.body\.", lambda m: "backbone."),
    (r"trunk\.fpn\.laterals\.(\d)\.", lambda m: f"fpn.lat_layers.{2 - int(m[1])}."),  # deepest first
    (r"trunk\.fpn\.predictions\.(\d)\.", lambda m: f"fpn.pred_layers.{2 - int(m[1])}."),
    (r"extra\.convolutions\.", lambda m: "fpn.downsample_layers."),
    (r"trunk\.head\.before\.(\d)\.", lambda m: f"proto_net.{2 * int(m[1])}."),  # ReLUs stand between
    (r"trunk\.head\.after\.", lambda m: "proto_net.8."),
    (r"trunk\.head\.planes\.", lambda m: "proto_net.10."),
    (r"box_head\.shared\.", lambda m: "prediction_layers.0.upfeature.0."),
    (r"box_head\.boxes\.", lambda m: "prediction_layers.0.bbox_layer."),
    (r"box_head\.classes\.", lambda m: "prediction_layers.0.conf_layer."),
    (r"box_head\.coefficients\.", lambda m: "prediction_layers.0.mask_layer."),
    (r"semantic_head\.", lambda m: f"{_SEMANTIC}."),
    (r"mask_iou\.convolutions\.(\d)\.", lambda m: f"maskiou_net.maskiou_net.{2 * int(m[1])}."),
)
"""Our names of weights, and the released ones."""


def _released_key(key: str) -> str:
    for pattern, name in _KEYS:
        if (found := re.match(pattern, key)) is not None:
            return name(found) + key[found.end() :]
    raise AssertionError(f"{key} has no released name")
