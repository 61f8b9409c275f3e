"""Writing that is done or has not happened: under a temporary name beside the place, then renamed."""

import errno
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from eps.errors import UserError

_OLD = ".old"
_OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    errno.ENAMETOOLONG,
)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name beside `path`, which takes its place only if the body succeeds.

    It is on the disk before it takes that place. Raises `UserError` where the disk is full or may not be written to.
    """
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, names: Set[str]) -> None:
    """Remove what killed runs have left of files with these names, which nobody else may be writing now.

    `replaced` does not do so by itself: of some files there are several writers, of others so many in a folder that
    to look through it for each would take hours.
    """
    if not folder.is_dir():
        return
    with _writable(folder):
        for found in [path for path in folder.iterdir() if path.name.startswith(".")]:
            target = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}(\.[^.]+)?", found.name)
            if target and target[1] in names and Path(target[1]).suffix == (target[2] or "") and not found.is_dir():
                found.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name beside `path`, which takes its place only if the body succeeds.

    What a killed run has left under such names is removed first. Raises `UserError` where the disk is full or may not
    be written to.
    """
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        put_back(path)
        for stale in [found for found in path.parent.iterdir() if found.name.startswith(f".{path.name}.")]:
            _remove(stale)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        old = temporary.with_name(f"{temporary.name}{_OLD}")
        try:
            yield temporary
            temporary.chmod(0o755)
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        finally:
            if old.exists() and not path.exists():
                old.rename(path)
            _remove(temporary)
            _remove(old)


def put_back(path: Path) -> None:
    """Where a run was killed in the moment between taking an old folder away and putting the new one there: the old."""
    if path.exists() or not path.parent.is_dir():
        return
    for old in path.parent.glob(f".{glob.escape(path.name)}.*{_OLD}"):
        with suppress(OSError):  # another process has been faster
            old.rename(path)
            return


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Tell what the system has against writing, whichever of the files below `path` it was, in one line."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = _refusal(error, path)
        if reason is None:
            raise
        way_out = "what was there before is unchanged; free space or choose another place (run_dir=, data.index=)"
        raise UserError(f"{path} cannot be written: {reason}; {way_out}") from error


def _refusal(error: BaseException, path: Path) -> str | None:
    """What the system says, where it is about the disk; torch and safetensors wrap that in errors of their own."""
    if isinstance(error, OSError):
        place = path.parent.absolute()
        named = Path(error.filename or path).absolute()  # another file may have been read meanwhile
        concerned = place in named.parents or named in (place, *place.parents)
        return error.strerror if error.errno in _OF_THE_DISK and concerned else None
    if isinstance(error.__context__, OSError):
        return _refusal(error.__context__, path)
    found = re.search(r"([^:]*) \(os error (\d+)\)", str(error))
    return found[1].strip() if found and int(found[2]) in _OF_THE_DISK else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
