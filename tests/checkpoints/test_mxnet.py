"""Files are written here by `written`, from MXNet's description of the format, not by the reader's constants."""

import json
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eps.checkpoints.mxnet import MXNetFormatError, read_params, resnet38_state
from eps.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden"
FLAGS = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6}
ARRAYS = {
    "arg:conv1a_weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7,
    "arg:bn7_gamma": np.array([1.5, -2, 3], dtype=np.float64),
    "aux:bn7_moving_var": np.array([[7]], dtype=np.int64),
}


def written(arrays: dict[str, Any], *, version: int = 2) -> bytes:
    """The list: magic, reserved, count and arrays, count and names. `version` 0 is the form that has no magic."""
    body = b"".join(_record(array, version) for array in arrays.values())
    names = b"".join(struct.pack("<Q", len(name.encode())) + name.encode() for name in arrays)
    return struct.pack("<QQQ", 0x112, 0, len(arrays)) + body + struct.pack("<Q", len(arrays)) + names


def _record(array: np.ndarray, version: int) -> bytes:
    if version == 0:
        head = struct.pack("<I", array.ndim) + struct.pack(f"<{array.ndim}I", *array.shape)
    else:
        head = struct.pack("<I", 0xF993FAC7 + version)
        head += struct.pack("<i", 0) if version > 1 else b""  # a dense array
        head += struct.pack("<I", array.ndim) + struct.pack(f"<{array.ndim}q", *array.shape)
    place = struct.pack("<ii", 1, 0)  # the CPU
    return (
        head
        + place
        + struct.pack("<i", FLAGS[array.dtype.name])
        + array.astype(array.dtype.newbyteorder("<")).tobytes()
    )


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], dict[str, torch.Tensor]]:
    def read_back(content: bytes) -> dict[str, torch.Tensor]:
        path = tmp_path / "net-0001.params"
        path.write_bytes(content)
        return read_params(path)

    return read_back


Read = Callable[[bytes], dict[str, torch.Tensor]]


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_every_version(read: Read, version: int) -> None:
    found = read(written(ARRAYS, version=version))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name].numpy(), array)
        assert found[name].numpy().dtype == array.dtype


@pytest.mark.parametrize("dtype", sorted(FLAGS))
def test_every_type(read: Read, dtype: str) -> None:
    array = np.array([[0, 1, 100], [3, 4, 5]], dtype=dtype)
    assert read(written({"a": array}))["a"].tolist() == array.tolist()


def test_tensors_can_be_written_to(read: Read) -> None:
    read(written(ARRAYS))["arg:conv1a_weight"].zero_()


def test_an_empty_list(read: Read) -> None:
    assert read(written({})) == {}


def corrupt(at: int, form: str, value: int) -> bytes:
    content = bytearray(written({"a": ARRAYS["arg:conv1a_weight"]}))
    struct.pack_into(form, content, at, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "bytes too early"),
        (b"PK\x03\x04 is a zip", "does not begin with the number of a list"),
        (corrupt(0, "<Q", 0x113), "does not begin with the number of a list"),
        (corrupt(16, "<Q", 2), "dimensions|too early|shape"),
        (corrupt(16, "<Q", 2**63), "too early|dimensions|shape|type"),
        (corrupt(24, "<I", 0xF993FACB), "dimensions"),
        (corrupt(28, "<i", 1), "sparse"),
        (corrupt(32, "<I", 33), "33 dimensions"),
        (corrupt(32, "<I", 0), r"the shape \[\]"),
        (corrupt(36, "<q", -2), r"the shape \[-2, 3, 2, 2\]"),
        (corrupt(36, "<q", 0), r"the shape \[0, 3, 2, 2\]"),
        (corrupt(36, "<q", 2**62), "too early"),
        (corrupt(76, "<i", 12), "unknown type 12"),
        (written(ARRAYS) + b"x", "behind the names"),
        (written({"a": ARRAYS["arg:bn7_gamma"]})[:-17] + struct.pack("<Q", 0), "1 arrays and 0 different names"),
        (written({"a": ARRAYS["arg:bn7_gamma"]})[:-1] + b"\xff", "a name is no text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_malformed(read: Read, content: bytes, reason: str) -> None:
    with pytest.raises(MXNetFormatError, match=rf"net-0001\.params is not a \.params file of MXNet: .*({reason})"):
        read(content)


def test_the_error_is_the_users() -> None:
    assert issubclass(MXNetFormatError, UserError)


def test_two_arrays_of_one_name(read: Read) -> None:
    both = written({"a": np.ones(1), "b": np.zeros(1)}).replace(b"b", b"a")
    with pytest.raises(MXNetFormatError, match="2 arrays and 1 different names"):
        read(both)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.params does not exist"):
        read_params(tmp_path / "absent.params")


def test_nothing_is_allocated_for_what_is_not_there(read: Read) -> None:
    """A gigabyte is claimed by 92 bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(MXNetFormatError):
            read(corrupt(36, "<q", 2**25))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file of some version with bits flipped, perhaps cut off."""
    content = bytearray(written(ARRAYS, version=draw(st.integers(0, 3))))
    for at in draw(st.lists(st.integers(0, 8 * len(content) - 1), max_size=8)):
        content[at // 8] ^= 1 << at % 8
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=damaged() | st.binary(max_size=200))
def test_damaged_files_are_read_or_refused(read: Read, content: bytes) -> None:
    try:
        found = read(content)
    except UserError:
        return
    assert sum(tensor.nbytes for tensor in found.values()) <= len(content)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("arg:conv1a_weight", "conv1a.weight"),
        ("arg:res2a_branch2a_weight", "b2.conv_branch2a.weight"),
        ("arg:res2b1_branch2b1_weight", "b2_1.conv_branch2b1.weight"),
        ("arg:res4b5_branch2a_weight", "b4_5.conv_branch2a.weight"),
        ("arg:res6a_branch1_weight", "b6.conv_branch1.weight"),
        ("arg:bn2b1_branch2b1_gamma", "b2_1.bn_branch2b1.weight"),
        ("arg:bn7a_branch2b2_beta", "b7.bn_branch2b2.bias"),
        ("aux:bn4a_branch2a_moving_var", "b4.bn_branch2a.running_var"),
        ("aux:bn4a_branch2a_moving_mean", "b4.bn_branch2a.running_mean"),
        ("arg:bn7_gamma", "bn7.weight"),
        ("aux:bn7_moving_mean", "bn7.running_mean"),
    ],
)
def test_names(name: str, expected: str) -> None:
    tensor = torch.ones(1)
    assert resnet38_state({name: tensor}) == {expected: tensor}


def test_the_classification_layer_is_dropped() -> None:
    assert resnet38_state({"arg:linear1000_weight": torch.ones(1), "arg:linear1000_bias": torch.ones(1)}) == {}


@pytest.mark.parametrize(
    "name", ["arg:fc1_weight", "arg:res2a_branch2a_gamma", "arg:bn2a_branch2a_weight", "conv0_weight"]
)
def test_names_of_another_network(name: str) -> None:
    with pytest.raises(UserError, match=f"not those of resnet38: they have '{name}'"):
        resnet38_state({name: torch.ones(1)})


def mxnet_names(keys: Sequence[str]) -> dict[str, str]:
    """The other way round, from the released key layout."""
    leaves = {"bias": "beta", "weight": "gamma", "running_mean": "moving_mean", "running_var": "moving_var"}
    names = {}
    for key in keys:
        *block, part, leaf = key.split(".")
        kind = "aux" if leaf.startswith("running") else "arg"
        if not block:
            names[key] = f"{kind}:{part}_{'weight' if part == 'conv1a' else leaves[leaf]}"
            continue
        stage, _, number = block[0][1:].partition("_")
        place = f"{stage}b{number}" if number else f"{stage}a"
        what, _, branch = part.partition("_")
        names[key] = (
            f"{kind}:{'res' if what == 'conv' else 'bn'}{place}_{branch}_{'weight' if what == 'conv' else leaves[leaf]}"
        )
    return names


def test_every_key_of_the_network_has_its_name() -> None:
    shapes = json.loads((GOLDEN / "resnet38_eps_state_dict.json").read_text())
    keys = [key for key in shapes if key != "fc8.weight" and not key.endswith("num_batches_tracked")]
    names = mxnet_names(keys)
    found = resnet38_state({name: torch.ones(1) for name in names.values()})
    assert list(found) == keys
