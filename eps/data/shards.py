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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from eps.data.atomic import replaced
from eps.data.files import is_safe
from eps.data.images import decode_image
from eps.data.palette import label_image
from eps.errors import UserError

PHOTO = ("jpg", "jpeg", "png", "webp")
LARGEST = 2**28
"""No file of a shard is taken that has more bytes: it is no photo, and would be read as a whole."""


class ShardPhoto(NamedTuple):
    """A photo of a shard with its tags, or why it cannot be used."""

    key: str
    image: Image.Image | None
    tags: Bool[np.ndarray, " c"]
    fault: str


def shard_paths(source: str) -> list[Path]:
    """The shards that a pattern names: `*`, `?`, `[...]`, and `{000..127}` for numbers. Raises `UserError` for none."""
    found = sorted(Path(name) for pattern in _numbered(source) for name in glob.glob(pattern))
    if not found:
        raise UserError(
            f"source=shards:{source}: there is no such file; give a pattern such as 'photos/{{000..127}}.tar'"
        )
    name, times = Counter(path.name for path in found).most_common(1)[0]
    if times > 1:
        raise UserError(f"source=shards:{source}: {times} shards are called {name}; give them names of their own")
    return found


def _numbered(pattern: str) -> list[str]:
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None:
        return [pattern]
    first, last = found[1], found[2]
    numbers = range(int(first), int(last) + 1)
    return [
        name
        for number in numbers
        for name in _numbered(f"{pattern[: found.start()]}{number:0{len(first)}}{pattern[found.end() :]}")
    ]


def read_shard(path: Path, classes: tuple[str, ...]) -> Iterator[ShardPhoto]:
    """Every photo of a shard in its order, one in memory at a time. Raises `UserError` where the tar is broken."""
    try:
        with tarfile.open(path, mode="r|") as tar:
            for key, members in groupby(_files(tar), key=lambda file: file.key):
                yield _photo(key, {file.suffix: file.content for file in members}, path, classes)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path} is no whole tar file: {error}; fetch it again") from error


@dataclass(frozen=True)
class _File:
    key: str
    suffix: str
    content: bytes | None
    """None of one that is too large."""


def _files(tar: tarfile.TarFile) -> Iterator[_File]:
    for member in tar:
        _forget(tar)
        if member.isfile():
            folder, _, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            file = tar.extractfile(member) if member.size <= LARGEST else None
            yield _File(f"{folder}/{stem}".lstrip("/"), suffix.lower(), None if file is None else file.read())


def _photo(key: str, files: dict[str, bytes | None], path: Path, classes: tuple[str, ...]) -> ShardPhoto:
    nothing = np.zeros(len(classes), dtype=bool)
    held = next((files[suffix] for suffix in PHOTO if suffix in files), None)
    try:
        if not is_safe(key):
            raise UserError(f"{key!r} is no file name that may be written")
        if held is None:
            raise UserError(f"no photo of at most {LARGEST} bytes ({', '.join(PHOTO)})")
        tags = _tags(files.get("json"), classes)
        image = decode_image(held, name="its photo").convert("RGB")
    except UserError as error:
        return ShardPhoto(key, None, nothing, f"{path.name}: {key}: {error}")
    return ShardPhoto(key, image, tags, "")


def _tags(held: bytes | None, classes: tuple[str, ...]) -> Bool[np.ndarray, " c"]:
    if held is None:
        raise UserError("no .json with its tags")
    try:
        content = json.loads(held)
        names = content["tags"] if isinstance(content, dict) else content
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
        _forget(self._tar)


def _forget(tar: tarfile.TarFile) -> None:
    """Its members, of which a tar keeps a record each."""
    vars(tar)["members"] = []


@contextmanager
def writing_shard(path: Path) -> Iterator[ShardWriter]:
    """A tar that is there only when it is whole."""
    with replaced(path) as temporary, tarfile.open(temporary, mode="w") as tar:
        yield ShardWriter(tar)
