"""EPS's pickled tags: what numpy writes is read, whatever else stands there is refused and not run."""

import io
import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eps.data.cls_labels import read_cls_labels
from eps.errors import UserError

TAGS = {"2007_000032": (0, 2), "2007_000039": (), "2011_003276": (1,)}


def table(dtype: Any = np.float32, classes: int = 3) -> dict[str, np.ndarray]:
    return {photo: np.isin(np.arange(classes), tags).astype(dtype) for photo, tags in TAGS.items()}


def npy(content: object, *, protocol: int = 4) -> bytes:
    """As `numpy.save` writes an object, with a protocol of our choice."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    pickle.dump(content, file, protocol=protocol)
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64, bool, ">f4"])
def test_what_numpy_saves(tmp_path: Path, dtype: Any) -> None:
    path = tmp_path / "cls_labels.npy"
    np.save(path, table(dtype))  # type: ignore[arg-type]
    assert read_cls_labels(path, classes=3) == TAGS


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_names_of_old_and_new_numpy(tmp_path: Path, protocol: int, module: str) -> None:
    path = tmp_path / "cls_labels.npy"
    content = npy(np.array(table(), dtype=object), protocol=protocol)
    assert b"numpy._core.multiarray" in content
    if protocol == 4:  # names have their length before them
        content = npy(table(), protocol=3)
    path.write_bytes(content.replace(b"numpy._core.multiarray", module.encode()))
    assert read_cls_labels(path, classes=3) == TAGS


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_of_a_malicious_file_is_run(tmp_path: Path, protocol: int, inside: bool) -> None:
    place = tmp_path / "made by the file"
    evil = Evil(place)
    content = npy(np.array({"a": evil}, dtype=object) if inside else evil, protocol=protocol)
    path = tmp_path / "cls_labels.npy"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cls_labels\.npy is no cls_labels\.npy"):
        read_cls_labels(path, classes=3)
    assert not place.exists()
    np.load(path, allow_pickle=True)  # the file is what it claims to be
    assert place.exists()


@pytest.mark.parametrize(
    "name", ["os system", "builtins eval", "builtins getattr", "numpy load", "numpy.testing._private.utils runstring"]
)
def test_names_are_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cls_labels.npy"
    path.write_bytes(npy(None)[: -len(pickle.dumps(None, 4))] + f"c{name.replace(' ', chr(10))}\n.".encode())
    with pytest.raises(UserError, match=f"it asks for {name.replace(' ', '.')}, which no array needs"):
        read_cls_labels(path, classes=3)


@pytest.mark.parametrize(
    "content",
    [
        [],
        None,
        {"a": None},
        {"a": [1, 0, 0]},
        {"a": np.zeros(4)},
        {"a": np.array([0, 1, np.nan])},
        {"a": np.array([0, 0.5, 1], dtype=np.float16)},
        {"a": np.array([0, -1, 1], dtype=np.int8)},
        {"a": np.array([2, 0, 0])},
        {"a": np.array(["x"] * 3, dtype=object)},
        {"a": np.array(["x"] * 3)},
        {1: np.zeros(3)},
        {("a",): np.zeros(3)},
    ],
)
def test_other_contents(tmp_path: Path, content: object) -> None:
    path = tmp_path / "cls_labels.npy"
    path.write_bytes(npy(content))
    with pytest.raises(UserError, match=r"is no cls_labels\.npy"):
        read_cls_labels(path, classes=3)


def test_values_in_between_are_told(tmp_path: Path) -> None:
    path = tmp_path / "cls_labels.npy"
    path.write_bytes(npy({"a": np.array([0.0, 0.5, 1.0])}))
    with pytest.raises(UserError, match=r"photo 'a' has the value 0\.5: 0 is absent, 1 present"):
        read_cls_labels(path, classes=3)


def test_plain_array(tmp_path: Path) -> None:
    np.save(tmp_path / "cls_labels.npy", np.zeros((2, 3)))
    with pytest.raises(UserError, match="it holds an array of float64"):
        read_cls_labels(tmp_path / "cls_labels.npy", classes=3)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cls_labels\.npy is missing"):
        read_cls_labels(tmp_path / "cls_labels.npy", classes=3)


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cls_labels.npy"
    path.write_bytes(npy(table()))
    monkeypatch.setattr("eps.data.cls_labels.MAX_BYTES", 100)
    with pytest.raises(UserError, match="is larger than"):
        read_cls_labels(path, classes=3)


def test_sizes_in_the_file_are_not_believed(tmp_path: Path) -> None:
    """Opcodes that make Python's own reader set memory aside by a number in the file."""
    path = tmp_path / "cls_labels.npy"
    header = npy(None)[: -len(pickle.dumps(None, 4))]
    for opcode in (
        b"r\xff\xff\xff\x7f",
        b"\x96\xff\xff\xff\xff\xff\x00\x00\x00",
        b"\x8e\xff\xff\xff\xff\xff\x00\x00\x00",
    ):
        path.write_bytes(header + b"\x80\x04}" + opcode + b".")
        try:
            assert read_cls_labels(path, classes=3) == {}
        except UserError:
            continue


FUZZ = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WHOLE = npy(np.array(table(), dtype=object), protocol=4)


def reads(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cls_labels.npy"
    path.write_bytes(content)
    try:
        found = read_cls_labels(path, classes=3)
    except UserError as error:
        told = str(error)
    else:
        told = ""
        assert all(isinstance(photo, str) and set(tags) <= {0, 1, 2} for photo, tags in found.items())
    assert "\n" not in told


@FUZZ
@given(st.integers(0, len(WHOLE)), st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4))
def test_fuzz_cut_and_changed(tmp_path: Path, length: int, changes: list[tuple[int, int]]) -> None:
    content = bytearray(WHOLE)
    for place, value in changes:
        content[place] = value
    reads(tmp_path, bytes(content[length:] if length % 3 == 0 else content[:length] if length % 3 == 1 else content))


@FUZZ
@given(st.lists(st.sampled_from(pickletools.opcodes), max_size=30), st.binary(max_size=30))
def test_fuzz_programs(tmp_path: Path, opcodes: list[Any], arguments: bytes) -> None:
    program = b"".join(op.code.encode("latin1") + arguments[i : i + 3] for i, op in enumerate(opcodes))
    reads(tmp_path, npy(None)[: -len(pickle.dumps(None, 4))] + program + b".")
