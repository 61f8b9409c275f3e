"""State dicts as torch.save writes them, and whether they fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eps.errors import UserError, some

WRAPPINGS = ("state_dict", "model")
NAMED = 5
"""Keys that a refusal names; of more it says how many there are."""


def read_state_dict(path: Path, *, setting: str) -> Mapping[str, Tensor]:
    """The tensors of a file by name, no code of it run; `setting` is what asked for them, for error messages.

    A state dict may lie under `state_dict` or `model`, and its names may begin with `module.`. Raises `UserError`
    where there is no such file or it holds anything else.
    """
    if not path.is_file():
        raise UserError(f"{setting}: {path} does not exist")
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its readers do
        raise UserError(f"{setting}: {path} is not a file of torch.save: {type(error).__name__}") from error
    return unwrapped(loaded, source=f"{setting}: {path}")


def unwrapped(loaded: Any, *, source: str) -> Mapping[str, Tensor]:
    """The state dict itself, out of what training scripts wrap it in. Raises `UserError` where there is none."""
    wrapped = [loaded[key] for key in WRAPPINGS if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping)]
    state = wrapped[0] if wrapped else loaded
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{source} holds no state dict, which maps names to tensors")
    return {str(key).removeprefix("module."): tensor for key, tensor in state.items()}


def fitted(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, source: str, exactly: bool
) -> dict[str, Tensor]:
    """The tensors of `state` under the keys of `wanted`, which may lack the counters that old batch norms have not.

    Raises one `UserError` that names what is missing or misshapen and, if it is to fit `exactly`, what is too much; and
    one for numbers that are not finite.
    """
    missing = [key for key in wanted if key not in state and not key.endswith(".num_batches_tracked")]
    misshapen = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    excess = [key for key in state if key not in wanted] if exactly else []
    shapes = [f"{key} {_size(state[key])} for {_size(wanted[key])}" for key in misshapen]
    faults = [
        f"{kind} {some(keys, most=NAMED)}"
        for kind, keys in (("missing", missing), ("misshapen", shapes), ("unexpected", excess))
        if keys
    ]
    if faults:
        raise UserError(f"{source} does not fit: {'; '.join(faults)}")
    refuse_not_finite({key: state[key] for key in wanted if key in state}, source=source)
    return {key: state.get(key, tensor) for key, tensor in wanted.items()}


def refuse_not_finite(state: Mapping[str, Tensor], *, source: str) -> None:
    """Raises `UserError` where weights are nan or infinite: a network with them finds nothing, and says nothing."""
    real = {key: tensor for key, tensor in state.items() if not tensor.is_meta}  # others have no numbers
    spoilt = [key for key, tensor in real.items() if not torch.isfinite(tensor).all()]
    if spoilt:
        named = some(spoilt, most=NAMED)
        raise UserError(f"{source} has numbers that are not finite in {named}: train anew or take another file")


def _size(tensor: Tensor) -> str:
    return "x".join(str(side) for side in tensor.shape) or "a number"
