"""EPS's `cls_labels.npy`: a pickled dict from photo id to an array of 0 and 1, read without running what it holds.

A pickle is a program. This one may build dicts, lists, tuples, texts, numbers and numpy arrays; the four names that
arrays need stand for records of ours, which numpy never sees before they are checked. Everything else is refused.
"""

import io
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from eps.errors import UserError, one_line

MAX_BYTES: Final = 256 << 20


def read_cls_labels(path: Path, *, classes: int) -> dict[str, tuple[int, ...]]:
    """The class indices of each photo. Raises `UserError` where the file holds anything else, and runs nothing of it.

    Any array with `classes` numbers will do that are 0 (absent) or 1 (present).
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: data.tags names EPS's cls_labels.npy, or the folder of the xml files")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB: that is no cls_labels.npy")
    try:
        table = _plain(_unpickled(path.read_bytes()))
        if not isinstance(table, dict):
            raise TypeError(f"it holds {type(table).__name__}, no dict")
        return {photo: _present(photo, values, classes) for photo, values in table.items()}
    except Exception as error:  # a broken pickle can raise anything
        reason = one_line(f"{type(error).__name__}: {error}")[:200]
        raise UserError(f"{path} is no cls_labels.npy, a pickled dict of one array a photo ({reason})") from error


class _DType:
    """What a pickle says of a dtype."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = code
        self.state: object = None


class _Array:
    """What a pickle says of an array."""

    def __init__(self, *_: object) -> None:
        self.state: object = None


class _Name:
    """Stands for `numpy.ndarray` where it is only named."""


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_NAMES: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Name,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin1,
}


def _opcodes(*names: str) -> dict[int, Callable[[Any], None]]:
    known: dict[int, Callable[[Any], None]] = pickle._Unpickler.dispatch
    return {(code := getattr(pickle, name)[0]): known[code] for name in names}


class _Unpickler(pickle._Unpickler):
    """Python's unpickler, in Python: the one in C takes any memo index, however large, for a size."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch = _opcodes(
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE"),
        *("INT", "LONG", "FLOAT", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("APPEND", "APPENDS", "GLOBAL", "STACK_GLOBAL", "REDUCE"),
        *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs; nothing of it was run")
        return _NAMES[module, name]

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if not isinstance(made, _DType | _Array):
            raise pickle.UnpicklingError(f"it changes a {type(made).__name__}")
        made.state = state

    def _set_items(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(key, value)

    def _set(self, key: object, value: object) -> None:
        target = self.stack[-1]
        if not isinstance(key, str) or not isinstance(target, dict):
            raise pickle.UnpicklingError("its keys are no photo ids")
        target[key] = value

    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items


def _unpickled(content: bytes) -> object:
    """What the pickle behind the header of an .npy of objects makes."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = readers[version](file)
    if dtype != np.dtype(object) or shape != ():
        raise TypeError(f"it holds an array of {dtype} and shape {shape}, no dict")
    return _Unpickler(file).load()


def _plain(made: object) -> Any:
    """The content of an array record: its one object, or its numbers in a flat numpy array."""
    if not isinstance(made, _Array):
        return made
    _, shape, dtype, _, content = _five(made.state)
    code = dtype.code if isinstance(dtype, _DType) else None
    if code == "O8" and shape == () and isinstance(content, list) and len(content) == 1:
        return content[0]
    if not isinstance(code, str) or not re.fullmatch(r"[biuf][1248]", code) or not isinstance(content, bytes):
        raise TypeError("it holds an array that is neither numbers nor one object")
    order = "".join(c for c in str(_order(dtype)) if c in "<>=") or "="
    numbers = np.frombuffer(content, dtype=np.dtype(order + code))
    if len(numbers) != math.prod(shape):
        raise ValueError(f"an array of shape {shape} with {len(numbers)} numbers")
    return numbers


def _five(state: object) -> tuple[Any, Any, Any, Any, Any]:
    if not isinstance(state, tuple) or len(state) != 5:
        raise TypeError("an array without content")
    version, shape, dtype, fortran, content = state
    if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise TypeError("an array without a shape")
    return version, shape, dtype, fortran, content


def _order(dtype: _DType) -> object:
    return dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "="


def _present(photo: str, values: object, classes: int) -> tuple[int, ...]:
    numbers = _plain(values)
    if not isinstance(numbers, np.ndarray) or numbers.size != classes:
        raise ValueError(f"photo {photo!r} has no array of {classes} numbers")
    odd = numbers[~np.isin(numbers, (0, 1))]
    if odd.size:
        raise ValueError(f"photo {photo!r} has the value {odd[0]}: 0 is absent, 1 present, there is nothing else")
    return tuple(np.flatnonzero(numbers).tolist())
