"""Writing aside and renaming, and what is said where the disk does not let us."""

import errno
import os
import re
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from eps.data.atomic import put_back, remove_leftovers, replaced, replaced_folder
from eps.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_file_takes_its_place_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with replaced(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_file_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with replaced(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_folder_takes_its_place_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    for content in ("old", "new"):
        with replaced_folder(path) as temporary:
            (temporary / content).touch()
    assert names(path) == ["new"]
    assert names(path.parent) == ["folder"]
    assert path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_folder_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()

    def fail() -> None:
        with replaced_folder(path) as temporary:
            (temporary / "half").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    for name in (".folder.abc", ".folder.abc.old", ".other.abc"):
        (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / ".folder.resume.pt.abc.pt").touch()
    with replaced_folder(tmp_path / "folder"):
        pass
    assert names(tmp_path) == [".other.abc", "folder"]


def test_leftovers_of_killed_writers(tmp_path: Path) -> None:
    """Of files that are named alone."""
    killed = [replaced(tmp_path / name) for name in ("0.tar", "0.json", "1.tar", "bare")]
    left = [manager.__enter__().name for manager in killed]  # never left
    for name in (".0.tar.abc.tar", ".0.tar", "0.tar", ".0.tar.abcdefgh.zip"):
        (tmp_path / name).touch()
    (tmp_path / ".0.tar.abcdefgh.tar").mkdir()
    before = set(names(tmp_path))
    remove_leftovers(tmp_path, {"0.tar", "0.json", "bare"})
    assert before - set(names(tmp_path)) == {left[0], left[1], left[3]}
    remove_leftovers(tmp_path / "nowhere", {"0.tar"})


def test_old_folder_comes_back_where_the_new_one_cannot_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder"
    (path / "old").mkdir(parents=True)

    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == path and not self.name.endswith(".old"):
            raise OSError("full")
        return rename(self, target)

    def fill() -> None:
        with replaced_folder(path) as temporary:
            (temporary / "new").touch()

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="full"):
        fill()
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_what_was_there_comes_back_after_a_kill_in_between(tmp_path: Path) -> None:
    """The old folder is away, the new one is not there yet."""
    (tmp_path / ".folder.abc").mkdir()
    (tmp_path / ".folder.abc.old" / "kept").mkdir(parents=True)
    (tmp_path / ".other.abc.old").mkdir()
    put_back(tmp_path / "folder")
    assert names(tmp_path / "folder") == ["kept"]
    put_back(tmp_path / "folder")
    put_back(tmp_path / "nowhere" / "folder")
    assert names(tmp_path) == [".folder.abc", ".other.abc.old", "folder"]


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 4 kB: what writes gets the system's own error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def by_hand(path: Path) -> None:
    with path.open("wb") as file:
        file.write(bytes(100_000))


def by_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save({"a": torch.zeros(100_000)}, file)


def by_safetensors(path: Path) -> None:
    save_file({"a": torch.zeros(100_000)}, path)


def by_pillow(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(200, 200), dtype=np.uint8)
    Image.fromarray(noise).save(path, format="PNG")


def by_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, a=np.random.default_rng(0).normal(size=100_000))


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("write", [by_hand, by_torch, by_safetensors, by_pillow, by_numpy])
def test_full_disk(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """One line, whoever writes; the old file stays, and no half of the new one."""
    path = tmp_path / "file.bin"
    path.write_text("old")

    def fill() -> None:
        with replaced(path) as temporary:
            write(temporary)

    with pytest.raises(
        UserError, match=r"^[^\n]*/file\.bin cannot be written: File too large; [^\n]*free space[^\n]*$"
    ):
        fill()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.bin"]


@pytest.mark.usefixtures("full_disk")
def test_full_disk_under_a_folder(tmp_path: Path) -> None:
    """The innermost file is named."""
    path = tmp_path / "folder"
    (path / "old").mkdir(parents=True)

    def fill() -> None:
        with replaced_folder(path) as temporary, replaced(temporary / "large") as file:
            by_hand(file)

    with pytest.raises(UserError, match=r"/large cannot be written: File too large"):
        fill()
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("writer", [replaced, replaced_folder])
def test_read_only_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writer: Callable[[Path], AbstractContextManager[Path]],
    relative: bool,
) -> None:
    def refused(*, dir: Path, prefix: str, suffix: str = "") -> None:
        raise OSError(errno.EROFS, "Read-only file system", f"{dir.absolute()}/{prefix}abc{suffix}")

    monkeypatch.setattr(tempfile, "mkstemp", refused)
    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    monkeypatch.chdir(tmp_path)
    path = Path("deep", "thing") if relative else tmp_path / "deep" / "thing"
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} cannot be written: Read-only file system; [^\n]*$"):
        writer(path).__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    for writer in (replaced, replaced_folder):
        with pytest.raises(UserError, match="cannot be written: Permission denied"):
            writer(tmp_path / "deep" / "thing").__enter__()


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    """A file elsewhere that may not be read is no reason why this one cannot be written."""

    def read() -> None:
        with replaced(tmp_path / "file"):
            raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/photo.jpg")

    with pytest.raises(PermissionError):
        read()
