"""Tars that somebody or something has damaged, or made to be read for ever: one line, and soon."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from eps.data.tar_stream import HEADERS, Packed, files_of_tar
from eps.errors import UserError

BLOCK = tarfile.BLOCKSIZE


def packed(*names: str, sizes: int = 600) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = sizes
            tar.addfile(member, io.BytesIO(name[:1].encode() * sizes))
    return held.getvalue()


def read(path: Path) -> list[Packed]:
    return list(files_of_tar(path, wanted=lambda name, size: size < 2**30))


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def pax(*fields: str, size: int | None = None) -> bytes:
    """A pax header of these fields, each with its length before it."""
    content = "".join(fields).encode()
    padding = bytes(-len(content) % BLOCK)
    return header("pax", len(content) if size is None else size, tarfile.XHDTYPE) + content + padding


def test_files_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    long = "l" * 300
    with tarfile.open(path, "w") as tar:
        for name, kind in (("below", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE), (long, tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            tar.addfile(member)
    assert read(path) == [Packed(long, b"")]
    path.write_bytes(packed("a", "b/c"))
    found = files_of_tar(path, wanted=lambda name, size: (name, size) == ("b/c", 600))
    assert list(found) == [Packed("a", None), Packed("b/c", b"b" * 600)]


def test_large_files_may_follow_each_other(tmp_path: Path) -> None:
    """The limit is for what stands between files, not for files."""
    (tmp_path / "0.tar").write_bytes(packed("a", "b", "c", sizes=HEADERS + 77))
    assert [len(file.content or b"") for file in read(tmp_path / "0.tar")] == 3 * [HEADERS + 77]
    assert len(list(files_of_tar(tmp_path / "0.tar", wanted=lambda name, size: False))) == 3


WHOLE = packed("a", "b")
FILE = BLOCK + 2 * BLOCK
"""A header, and 600 bytes in whole blocks."""

DAMAGED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "cut in a file": lambda: WHOLE[: FILE + BLOCK + 9],
    "cut in a header": lambda: WHOLE[: FILE + 99],
    "cut between two files": lambda: WHOLE[:FILE],
    "cut before its end": lambda: WHOLE[: 2 * FILE],
    "a damaged header between good ones": lambda: WHOLE[: FILE + 5] + b"x" + WHOLE[FILE + 6 :],
    "a file of 2^87 bytes": lambda: WHOLE[:FILE] + header("x", 2**87) + bytes(BLOCK),
    "a file of 2^40 bytes": lambda: WHOLE[:FILE] + header("x", 2**40) + bytes(BLOCK),
    "a file of -512 bytes": lambda: header("x", -BLOCK) + WHOLE,
    "a name of 2^87 bytes": lambda: header("x", 2**87, tarfile.GNUTYPE_LONGNAME) + WHOLE,
    "a name of 2 MiB": lambda: header("x", 2**21, tarfile.GNUTYPE_LONGNAME) + bytes(2**21) + WHOLE,
    "a pax header of 2^87 bytes": lambda: pax("9 path=a\n", size=2**87) + WHOLE,
    "a pax field of no length": lambda: WHOLE[:FILE] + pax("0 path=a\n") + WHOLE,
    "a pax size that is none": lambda: WHOLE[:FILE] + pax(f"{len('99 size=') + 2**7} size={'9' * 2**7}\n") + WHOLE,
    "a pax header a thousand times": lambda: pax("9 path=a\n") * 999 + WHOLE,
    "a sparse file without end": lambda: (
        pax("22 GNU.sparse.major=1\n", "22 GNU.sparse.minor=0\n") + header("x", BLOCK) + b"999999\n" + b"1\n" * 252
    ),
    "a sparse file": lambda: (
        pax("22 GNU.sparse.major=1\n", "22 GNU.sparse.minor=0\n")
        + header("x", BLOCK)
        + b"1\n0\n0\n".ljust(BLOCK, b"\0")
        + bytes(BLOCK * 20)
    ),
    "text": lambda: b"no tar at all" * 99,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "0.tar"
    path.write_bytes(DAMAGED[name]())
    with pytest.raises(UserError, match=r"^\S*/0\.tar is no whole tar file: [^\n]+; fetch it again$"):
        read(path)


@pytest.mark.parametrize("damage", [OverflowError("too large"), RecursionError("too\ndeep"), IndexError("index")])
def test_whatever_tarfile_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Exception) -> None:
    def fail(*arguments: object) -> None:
        raise damage

    (tmp_path / "0.tar").write_bytes(WHOLE)
    monkeypatch.setattr(tarfile.TarInfo, "frombuf", fail)
    with pytest.raises(UserError, match=rf"is no whole tar file: {str(damage).replace(chr(10), ' ')}; fetch"):
        read(tmp_path / "0.tar")


def test_what_is_compressed(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(gzip.compress(WHOLE))
    with pytest.raises(UserError, match=r"0\.tar is compressed: unpack it with gunzip"):
        read(tmp_path / "0.tar")
    (tmp_path / "0.tar").write_bytes(packed("BZh001.jpg"))  # begins as what bzip2 packs
    assert [file.name for file in read(tmp_path / "0.tar")] == ["BZh001.jpg"]


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def a_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [a_folder, a_pipe, a_link_to_nothing, a_loop])
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "1.tar")
    with pytest.raises(UserError, match=r"1\.tar is no file that can be read"):
        read(tmp_path / "1.tar")
