"""Shards: tar files in WebDataset's form, read and written as streams, so that their number and size do not matter.

The files of a photo follow each other and share what stands before the first dot of their name: `<key>.jpg` (or jpeg,
png, webp) and `<key>.json` with its tags, a list of class names or an object whose `tags` are one. The standard library
reads them: the webdataset package would run commands that stand in addresses, and unpickle members of some names.
"""

import glob
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from eps.data.atomic import replaced
from eps.data.files import is_safe
from eps.data.images import decode_image
from eps.data.palette import label_image
from eps.data.tar_stream import files_of_tar, forget
from eps.errors import UserError, one_line

PHOTO: Final = ("jpg", "jpeg", "png", "webp")
TAGS: Final = "json"
LARGEST: Final = 2**28
"""No file of a shard is taken that has more bytes: it is no photo, and would be read as a whole."""

MOST_NAMES: Final = 10**7
"""So many files are looked for at most; a range of a hundred digits would go on for ever."""

_RANGE: Final = r"\{([0-9]{1,18})\.\.([0-9]{1,18})\}"


class ShardPhoto(NamedTuple):
    """A photo of a shard with its tags, or why it cannot be used."""

    key: str
    image: Image.Image | None
    tags: Bool[np.ndarray, " c"]
    fault: str


def shard_paths(source: str) -> list[Path]:
    """The shards that a pattern names: `*`, `?`, `[...]`, and `{000..127}` for numbers. Raises `UserError` for none."""
    ranges = re.findall(_RANGE, source)
    if prod(max(1, 1 + int(last) - int(first)) for first, last in ranges) > MOST_NAMES:
        raise UserError(f"source=shards:{source} stands for more than {MOST_NAMES} names: write * for any number")
    found = sorted({Path(name) for pattern in _numbered(source) for name in glob.iglob(pattern)})
    if not found:
        raise UserError(
            f"source=shards:{source}: there is no such file; give a pattern such as 'photos/{{000..127}}.tar'"
        )
    return found


def _numbered(pattern: str) -> Iterator[str]:
    """One name after the other: there may be millions."""
    before, *found = re.split(_RANGE, pattern, maxsplit=1)
    if not found:
        yield before
        return
    first, last, after = found
    for number in range(int(first), int(last) + 1):
        for rest in _numbered(after):
            yield f"{before}{number:0{len(first)}}{rest}"


def read_shard(path: Path, classes: tuple[str, ...]) -> Iterator[ShardPhoto]:
    """Every photo of a shard in its order, one in memory at a time; of those with the same key the first one counts.

    Raises `UserError` where the tar is none, broken or cut off.
    """
    known: set[str] = set()
    for key, files in _together(_files(path)):
        yield _photo(key, files, path, classes, again=key in known)
        known.add(key)


@dataclass(frozen=True)
class _File:
    key: str
    suffix: str
    content: bytes | None
    """None of one that is too large, or that nobody asks for."""


def _files(path: Path) -> Iterator[_File]:
    for packed in files_of_tar(path, wanted=_is_wanted):
        folder, _, name = packed.name.removeprefix("./").rpartition("/")  # as `tar cf x.tar .` writes them
        stem, _, suffix = name.partition(".")
        yield _File(f"{folder}/{stem}".lstrip("/"), suffix.lower(), packed.content)


def _is_wanted(name: str, size: int) -> bool:
    suffix = name.rpartition("/")[2].partition(".")[2]
    return suffix.lower() in (*PHOTO, TAGS) and size <= LARGEST


def _together(files: Iterable[_File]) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    """By key the files of a photo, which follow each other; the second one of a kind begins another photo."""
    key, held = "", dict[str, bytes | None]()
    for file in files:
        if held and (file.key != key or file.suffix in held):
            yield key, held
            held = {}
        key = file.key
        held[file.suffix] = file.content
    if held:
        yield key, held


def _photo(
    key: str, files: dict[str, bytes | None], path: Path, classes: tuple[str, ...], *, again: bool
) -> ShardPhoto:
    held = next((files[suffix] for suffix in PHOTO if suffix in files), None)
    try:
        if not is_safe(key):
            raise UserError(f"{key!r} is no file name that may be written")
        if again:
            raise UserError("this key stands in the shard before: the first photo of it counts")
        if held is None:
            raise UserError(f"no photo of at most {LARGEST} bytes ({', '.join(PHOTO)})")
        tags = _tags(files.get(TAGS), classes)
        image = decode_image(held, name="its photo").convert("RGB")
    except UserError as error:
        shown = f"{key}: " if is_safe(key) else ""
        return ShardPhoto(key, None, np.zeros(len(classes), dtype=bool), f"{path.name}: {shown}{one_line(error)}")
    return ShardPhoto(key, image, tags, "")


def _tags(held: bytes | None, classes: tuple[str, ...]) -> Bool[np.ndarray, " c"]:
    if held is None:
        raise UserError("no .json with its tags")
    try:
        content = json.loads(held)
        names = content["tags"] if isinstance(content, dict) else content
        if not isinstance(names, list):
            raise TypeError(f"a {type(names).__name__}")
        known = [classes.index(name) for name in names]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"its tags are no list of {', '.join(classes)}: {error}") from error
    return np.isin(np.arange(len(classes)), known)


class ShardWriter:
    """Masks on their way into a tar: palette PNGs, the same bytes whenever and wherever they are written."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def write(self, key: str, labels: UInt8[np.ndarray, "H W"]) -> None:
        """Add `<key>.png`."""
        held = io.BytesIO()
        label_image(labels).save(held, format="PNG")
        member = tarfile.TarInfo(f"{key}.png")
        member.size = held.tell()
        held.seek(0)
        self._tar.addfile(member, held)
        forget(self._tar)


@contextmanager
def writing_shard(path: Path) -> Iterator[ShardWriter]:
    """A tar that is there only when it is whole."""
    with replaced(path) as temporary, tarfile.open(temporary, mode="w") as tar:
        yield ShardWriter(tar)
