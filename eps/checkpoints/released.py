"""The door to released checkpoints: by a model's name, or by what a file holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from eps.checkpoints.eps_resnet38 import KINDS, load_eps
from eps.checkpoints.yolact import load_yolact, parse_file_name
from eps.checkpoints.yolact_specs import SPECS
from eps.errors import UserError
from eps.nn.weights import read_state_dict, unwrapped


def load_released(
    name: str, state_dict_or_path: Mapping[str, Any] | str | Path, *, classes: Sequence[str] | int | None = None
) -> nn.Module:
    """A released model with its weights, in evaluation mode, whose output is in the reference's order.

    `eps_resnet38` and `cls_resnet38` give `(logits, maps)` and have what `eps.engine.inference.localize` needs. The
    YOLACT names give `loc, conf, mask, priors, proto` (see `eps.checkpoints.yolact`); `classes`, by name or number,
    adapts them to other classes, and the name `auto` takes the model from the file's name. A file is read without
    running code of it. Raises `UserError` for an unknown name, and for weights that do not fit it.
    """
    if name == "auto":
        if not isinstance(state_dict_or_path, str | Path):
            raise UserError("auto needs a file named <model>_<epoch>_<iteration>.pth: name the model of a state dict")
        name = parse_file_name(state_dict_or_path).model
    if name not in KINDS and name not in SPECS:
        raise UserError(f"no released model {name!r}: choose one of {', '.join([*KINDS, *SPECS])}")
    if isinstance(state_dict_or_path, str | Path):
        source = str(state_dict_or_path)
        state = read_state_dict(Path(state_dict_or_path), setting=name)
    else:
        source = name
        state = unwrapped(state_dict_or_path, source=name)
    if name in SPECS:
        return load_yolact(name, state, source=source, classes=classes)
    if classes is not None:
        raise UserError(f"classes={classes}: {name} is not adapted to other classes; leave it out")
    return load_eps(name, state, source=source)
