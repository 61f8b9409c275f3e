from pathlib import Path
from typing import Any

import pytest
import torch

from eps.errors import UserError
from eps.nn.weights import fitted, read_state_dict, unwrapped

STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE},
        {f"module.{key}": tensor for key, tensor in STATE.items()},
        {"state_dict": {f"module.{key}": tensor for key, tensor in STATE.items()}},
    ],
)
def test_state_dicts_as_they_come(tmp_path: Path, wrapped: Any) -> None:
    torch.save(wrapped, tmp_path / "net.pth")
    for found in (read_state_dict(tmp_path / "net.pth", setting="key"), unwrapped(wrapped, source="key")):
        assert list(found) == list(STATE)
        assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_the_old_form_of_files(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    assert list(read_state_dict(tmp_path / "net.pth", setting="key")) == list(STATE)


@pytest.mark.parametrize("loaded", [None, 3, [torch.ones(1)], {"state_dict": 3}, {"a": {"b": torch.ones(1)}}])
def test_anything_else(loaded: Any) -> None:
    with pytest.raises(UserError, match=r"^net holds no state dict"):
        unwrapped(loaded, source="net")


class Planted:
    """What would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_no_code_runs(tmp_path: Path) -> None:
    torch.save({"a": Planted(tmp_path / "ran")}, tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"net\.pth is not a file of torch\.save"):
        read_state_dict(tmp_path / "net.pth", setting="key")
    assert not (tmp_path / "ran").exists()


def test_what_fits() -> None:
    wanted = {key: torch.empty_like(tensor) for key, tensor in STATE.items()}
    found = fitted({**STATE, "head": torch.ones(1)}, wanted, source="net", exactly=False)
    assert list(found) == list(wanted)
    assert torch.equal(found["a.weight"], STATE["a.weight"])


def test_counters_of_norms_may_be_missing() -> None:
    counter = torch.tensor(7)
    found = fitted({}, {"bn.num_batches_tracked": counter}, source="net", exactly=True)
    assert found["bn.num_batches_tracked"] is counter


def test_one_error_names_every_fault() -> None:
    wanted = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(1), "c": torch.ones(())}
    state = {"a.weight": torch.ones(3, 3), "d.weight": torch.ones(1), "c": torch.ones(())}
    with pytest.raises(UserError) as refusal:
        fitted(state, wanted, source="net.pth", exactly=True)
    assert str(refusal.value) == (
        "net.pth does not fit: missing b.weight; misshapen a.weight 3x3 for 2x3; unexpected d.weight"
    )
    with pytest.raises(UserError, match=r"misshapen a\.weight 3x3 for 2x3$"):
        fitted(state, wanted, source="net.pth", exactly=False)


def test_many_faults_are_counted() -> None:
    wanted = {f"b{i}": torch.ones(1) for i in range(8)}
    with pytest.raises(UserError, match=r"missing b0, b1, b2, b3, b4 and 3 more$"):
        fitted({}, wanted, source="net", exactly=True)
