"""MXNet's `.params` files, read without MXNet: a list of arrays, then their names."""

import re
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eps.errors import UserError

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
"""Versions of one array's record; a number below, where they would stand, is the oldest form's count of dimensions."""
DENSE = 0
MAX_DIMENSIONS = 32
DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"),
    1: np.dtype("<f8"),
    2: np.dtype("<f2"),
    3: np.dtype("u1"),
    4: np.dtype("<i4"),
    5: np.dtype("i1"),
    6: np.dtype("<i8"),
}


class MXNetFormatError(UserError):
    """A file that is not what MXNet's `nd.save` writes."""


def read_params(path: Path) -> dict[str, Tensor]:
    """The arrays of a `.params` file by name, such as `arg:conv1a_weight`.

    Nothing is allocated that the file does not hold. Raises `MXNetFormatError`, a `UserError`, for anything malformed,
    and `UserError` where there is no such file.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: MXNet's weights are needed for trunk.weights=mxnet:PATH")
    try:
        return _parsed(_Reader(path.read_bytes()))
    except _MalformedError as error:
        raise MXNetFormatError(f"{path} is not a .params file of MXNet: {error}") from error


def resnet38_state(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released WideResNet-38 under the names that `eps.nn.resnet38` has; its classification layer is dropped.

    `res` names convolutions and `bn` norms: `arg:res4b5_branch2a_weight` -> `b4_5.conv_branch2a.weight`. Raises
    `UserError` for a name of another network.
    """
    named = {_resnet38_name(name): array for name, array in arrays.items()}
    return {name: array for name, array in named.items() if name is not None}


_CONVOLUTION = r"(?:res(?P<block>\w+?)_(?P<branch>branch\w+?)|(?P<lone>conv1a))_(?P<leaf>weight)"
_NORM = r"(?:bn(?P<block>\w+?)_(?P<branch>branch\w+?)|(?P<lone>bn7))_(?P<leaf>gamma|beta|moving_mean|moving_var)"
_LEAVES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_var": "running_var"}


def _resnet38_name(name: str) -> str | None:
    plain = re.sub("^(arg|aux):", "", name)
    if plain.startswith("linear1000_"):
        return None
    convolution, norm = re.fullmatch(_CONVOLUTION, plain), re.fullmatch(_NORM, plain)
    if (found := convolution or norm) is None:
        raise UserError(f"MXNet's weights are not those of resnet38: they have {name!r}")
    leaf = _LEAVES.get(found["leaf"], found["leaf"])
    if found["lone"]:
        return f"{found['lone']}.{leaf}"
    return f"{_block(found['block'])}.{'conv' if convolution else 'bn'}_{found['branch']}.{leaf}"


def _block(name: str) -> str:
    """`2a` -> `b2`, `4b5` -> `b4_5`; what is named otherwise stays, and will fit nowhere."""
    stage, _, number = name.partition("b")
    return f"b{stage}_{number}" if number else f"b{stage.removesuffix('a')}"


class _MalformedError(Exception):
    pass


class _Reader:
    """A position in the file's bytes that never goes past their end."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = memoryview(content), 0

    def take(self, count: int) -> memoryview:
        if count > len(self.content) - self.at:
            raise _MalformedError(f"it ends {count - (len(self.content) - self.at)} bytes too early")
        self.at += count
        return self.content[self.at - count : self.at]

    def numbers(self, form: str, count: int = 1) -> tuple[int, ...]:
        form = f"<{count}{form}"
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def number(self, form: str) -> int:
        return self.numbers(form)[0]


def _parsed(reader: _Reader) -> dict[str, Tensor]:
    if reader.number("Q") != LIST_MAGIC:
        raise _MalformedError("it does not begin with the number of a list of arrays")
    reader.take(8)  # reserved
    arrays = [_array(reader) for _ in range(reader.number("Q"))]
    names = [_name(reader) for _ in range(reader.number("Q"))]
    if len(set(names)) != len(arrays):
        raise _MalformedError(f"it has {len(arrays)} arrays and {len(set(names))} different names")
    if reader.at != len(reader.content):
        raise _MalformedError("something stands behind the names")
    return dict(zip(names, arrays, strict=True))


def _array(reader: _Reader) -> Tensor:
    shape = _shape(reader)
    reader.take(8)  # device type and number
    dtype = DTYPES.get(flag := reader.number("i"))
    if dtype is None:
        raise _MalformedError(f"an array has elements of the unknown type {flag}")
    values = np.frombuffer(reader.take(prod(shape) * dtype.itemsize), dtype=dtype)
    return torch.from_numpy(values.reshape(shape).astype(dtype.newbyteorder("=")))


def _shape(reader: _Reader) -> tuple[int, ...]:
    magic = reader.number("I")
    if magic in (V2, V3) and (storage := reader.number("i")) != DENSE:
        raise _MalformedError(f"an array is sparse (storage {storage})")
    newer = magic in (V1, V2, V3)
    dimensions = reader.number("I") if newer else magic
    if dimensions > MAX_DIMENSIONS:
        raise _MalformedError(f"an array has {dimensions} dimensions")
    shape = reader.numbers("q" if newer else "I", dimensions)
    if not shape or min(shape) < 1:
        raise _MalformedError(f"an array has the shape {list(shape)}")
    return shape


def _name(reader: _Reader) -> str:
    try:
        return bytes(reader.take(reader.number("Q"))).decode()
    except UnicodeDecodeError as error:
        raise _MalformedError("a name is no text") from error
