"""The files of a tar, read once from its beginning to its end, whatever somebody has written into it.

Python's tarfile takes a damaged header, and a cut between two files, for the end, and where a header states an enormous
size it reads on behind the end of the file for ever. Here both are errors.
"""

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeVar

from eps.errors import UserError, one_line

HEADERS: Final = 2**20
"""So many bytes may stand between two files: their names take some hundred."""

_FAULTS: Final = (tarfile.TarError, EOFError, OSError, ArithmeticError, LookupError, ValueError, RecursionError)
"""What tarfile raises for headers of all kinds."""

_COMPRESSED: Final = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"PK\x03\x04": "unzip",
}


_Of = TypeVar("_Of", bound=tarfile.TarInfo)


class Packed(NamedTuple):
    """A file of a tar; no content where none was wanted."""

    name: str
    content: bytes | None


def files_of_tar(path: Path, *, wanted: Callable[[str, int], bool]) -> Iterator[Packed]:
    """Every file of a tar, and what it holds if that is `wanted`, by name and size; one in memory at a time.

    Raises `UserError` where the tar is none, broken, cut off, compressed or no plain file.
    """
    try:
        if not path.is_file():  # to open a pipe would be to wait for whoever writes into it
            raise UserError(f"{path} is no file that can be read: a folder, a pipe, or a link that leads nowhere")
        with path.open("rb") as file:
            yield from _files(file, path.stat().st_size, wanted)
    except _FAULTS as error:
        packer = _packer(path)
        if packer:
            raise UserError(f"{path} is compressed: unpack it with {packer}, photos hardly get smaller") from error
        raise UserError(f"{path} is no whole tar file: {one_line(error)}; fetch it again") from error


def _files(file: BinaryIO, size: int, wanted: Callable[[str, int], bool]) -> Iterator[Packed]:
    source = _Bounded(file)
    with tarfile.open(fileobj=source, mode="r|", tarinfo=_Header) as tar:
        for member in tar:
            if member.size < 0 or tar.offset > size:
                raise tarfile.ReadError(f"it says that {member.name[:100]!r} has {member.size} bytes, and has not")
            if member.issparse():
                raise tarfile.ReadError(f"{member.name[:100]!r} is a sparse file")
            source.limit = tar.offset + HEADERS
            forget(tar)
            if member.isfile():
                content = tar.extractfile(member) if wanted(member.name, member.size) else None
                yield Packed(member.name, None if content is None else content.read())


class _Bounded(io.RawIOBase):
    """Gives no more than `limit` bytes of a file in all; behind its end it counts what was asked for."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self._given, self.limit = file, 0, HEADERS

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._given += len(content) or size
        if self._given > self.limit:
            raise tarfile.ReadError("its headers have no end")
        return content


class _Header(tarfile.TarInfo):
    """One that is damaged or missing is an error, not the end."""

    @classmethod
    def fromtarfile(cls: type[_Of], archive: tarfile.TarFile) -> _Of:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # typeshed does not know it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def forget(tar: tarfile.TarFile) -> None:
    """Its members, of which a tar keeps a record each."""
    vars(tar)["members"] = []


def _packer(path: Path) -> str:
    """What unpacks it; empty where nothing does."""
    try:
        with path.open("rb") as file:
            begin = file.read(8)
    except OSError:
        return ""
    return next((packer for start, packer in _COMPRESSED.items() if begin.startswith(start)), "")
