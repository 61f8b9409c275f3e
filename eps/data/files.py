"""Which files a folder holds, whatever the case of their suffixes: looked up once, not probed for."""

import os
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path, PurePosixPath
from unicodedata import category

from eps.errors import UserError, some

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
UNREAD = (".heic", ".heif", ".avif", ".gif", ".dng", ".cr2", ".cr3", ".nef", ".arw")
"""Of pictures that are looked for nowhere; whoever has them is told."""
CONVERT = "convert to JPEG (a phone's HEIC: heif-convert, or its camera's setting Most Compatible)"
"""Advice on pictures of other kinds."""
LONGEST = 215
"""Bytes of a photo's name: file systems take 255, of which a key, suffixes and a temporary name need up to 35."""


def files_by_id(folder: Path, suffixes: Sequence[str], *, without: Sequence[Path] = ()) -> dict[str, Path]:
    """The files in and below a folder that have one of these suffixes, by id; none without it. See `names_by_id`.

    Folders in `without` and what is hidden are passed over.
    """
    names = names_by_id(names_below(folder, {str(path) for path in without}), suffixes)
    return {photo: folder / name for photo, name in names.items()}


def names_by_id(names: Iterable[str], suffixes: Sequence[str]) -> dict[str, str]:
    """Of files below a folder those that have one of these lower-case suffixes in any case, by id.

    An id is the path below the folder, with slashes and without the suffix. Of files with the same id that counts
    whose suffix comes first.
    """
    ranks = {suffix: rank for rank, suffix in enumerate(suffixes)}
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        photo, suffix = os.path.splitext(name)
        rank = ranks.get(suffix.lower())
        if rank is not None:
            found[photo] = min(found.get(photo, (rank, name)), (rank, name))
    return {photo: name for photo, (_, name) in sorted(found.items())}


def passed_over(names: Sequence[str]) -> Iterator[str]:
    """What to say of the pictures among the files below a folder that are not looked at, if there are any.

    A picture of a kind that is not read is not missed where there is a photo of that name.
    """
    photos = names_by_id(names, PHOTO_SUFFIXES)
    others = [name for name in names if name.lower().endswith(UNREAD) and os.path.splitext(name)[0] not in photos]
    if others:
        yield f"pictures of kinds that are not read: {some(sorted(others), most=3)}; {CONVERT}"
    taken = set(photos.values())
    if twins := sorted(name for name in names if name.lower().endswith(PHOTO_SUFFIXES) and name not in taken):
        yield f"photos that share their name with another kind's, which is taken, rename them: {some(twins, most=3)}"


def id_of(file: str) -> str:
    """The id of a photo's file: its name with slashes, without the suffix."""
    return str(PurePosixPath(file).with_suffix("")) if PurePosixPath(file).name else file


def is_safe(photo: str) -> bool:
    """Whether an id names a file below a folder: no way up or out, nothing that no file name should hold."""
    parts = photo.split("/")
    return is_text(photo) and "\\" not in photo and not {"", ".", ".."} & set(parts) and ":" not in parts[0]


def is_text(name: str) -> bool:
    """Whether a file's name can be shown and written: no control characters, no bytes that are not UTF-8."""
    return not any(category(character) in ("Cc", "Cs") for character in name)


def is_short(photo: str) -> bool:
    """Whether files can be written under an id: file systems limit the bytes of a name, not of a path."""
    return len(photo.rpartition("/")[2].encode("utf-8", "surrogatepass")) <= LONGEST


def demand_regular(path: Path) -> None:
    """Raises `UserError` for what is there but is no file: reading a pipe or a device may never end."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file but a folder, pipe or device: put a file there")


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def names_below(folder: Path, without: Set[str] = frozenset()) -> Iterator[str]:
    """What lies in and below a folder, relative to it, hidden files and the folders `without` aside.

    As texts, because paths are slow and there may be 100,000. Raises `UserError` for folders that may not be read.
    """
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and os.path.join(place, name) not in without]
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        yield from (prefix + name for name in names if not name.startswith("."))
