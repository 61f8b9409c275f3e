"""Damaged MATLAB files: read or refused, and never the end of the process."""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from eps.data import mat_files
from eps.data.mat_files import read_field
from eps.errors import UserError

VALUES = np.random.default_rng(0).integers(0, 4, size=(60, 80)).astype(np.uint8)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    path = tmp_path / "whole.mat"
    savemat(path, {"GTinst": {"Segmentation": VALUES, "Categories": np.array([[1.5], [2]])}}, do_compression=False)
    return path.read_bytes()


def found(folder: Path) -> bool:
    """The file that is whole can be read, whatever was read before."""
    return bool((read_field(folder / "whole.mat", "GTinst", "Segmentation") == VALUES).all())


def test_fields(whole: bytes, tmp_path: Path) -> None:
    assert found(tmp_path)
    np.testing.assert_array_equal(read_field(tmp_path / "whole.mat", "GTinst", "Categories"), [[1.5], [2]])
    with pytest.raises(UserError, match=r"none\.mat is missing"):
        read_field(tmp_path / "none.mat", "GTinst", "Segmentation")
    for variable, field in (("GTcls", "Segmentation"), ("GTinst", "Boundaries")):
        with pytest.raises(UserError, match=rf"whole\.mat is no file of MATLAB's with {variable}\.{field}: "):
            read_field(tmp_path / "whole.mat", variable, field)


def test_texts_are_no_numbers(tmp_path: Path) -> None:
    savemat(tmp_path / "text.mat", {"GTinst": {"Segmentation": "text"}})
    with pytest.raises(UserError, match="no numbers"):
        read_field(tmp_path / "text.mat", "GTinst", "Segmentation")


def test_fuzz(whole: bytes, tmp_path: Path) -> None:
    """Flipped bits, the last of which end the process that reads them (scipy 1.17)."""
    chance, path = random.Random(0), tmp_path / "damaged.mat"
    for number in range(72):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 1, 4])):
            content[chance.randrange(128, 600)] ^= 1 << chance.randrange(8)
        if number in (*range(15), 71):
            path.write_bytes(content)
            try:
                assert read_field(path, "GTinst", "Segmentation").size <= path.stat().st_size
            except UserError as error:
                lines = str(error).count("\n")
            else:
                lines = 0
            assert lines == 0
    assert found(tmp_path)


def test_the_reader_may_die(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deadly = tmp_path / "deadly.py"
    deadly.write_text("import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(mat_files, "_readers", {})
    with monkeypatch.context() as patch:
        patch.setattr(mat_files, "_CHILD", deadly)
        with pytest.raises(UserError, match=r"whole\.mat is no file .*: its reader ended with -11 on it: the file is"):
            found(tmp_path)
    assert found(tmp_path)


def test_the_reader_may_hang(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(mat_files, "_readers", {})
    monkeypatch.setattr(mat_files, "_CHILD", slow)
    monkeypatch.setattr(mat_files, "SECONDS", 0.1)
    began = time.monotonic()
    with pytest.raises(UserError, match="its reader ended with -9 on it"):
        found(tmp_path)
    assert time.monotonic() - began < 30


def test_every_process_has_a_reader_of_its_own(whole: bytes, tmp_path: Path) -> None:
    """Workers are forked: two that ask the same reader would get each other's answers."""
    assert found(tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(0 if all(found(tmp_path) for _ in range(20)) else 1)
    assert all(found(tmp_path) for _ in range(20))
    assert os.waitpid(child, 0)[1] == 0
