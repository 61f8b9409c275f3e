"""The photos below a folder of annotations, by the names that annotations give them: nothing outside is ever opened."""

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from unicodedata import normalize

from eps.data.files import PHOTO_SUFFIXES, names_below

_KEPT = {"JPEG": ".jpg", "PNG": ".png"}
BESIDE = ("", "JPEGImages", "images", "../JPEGImages", "../images")
"""Where photos lie, as seen from the folder of an annotation."""


class SourcePhotos:
    """The photos in and below a folder, by their paths in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        names = {normalize("NFC", name): root / name for name in names_below(root)}
        self._files = {name: path for name, path in names.items() if path.suffix.lower() in PHOTO_SUFFIXES}
        self._by_stem: dict[str, Path] = {}
        for name, path in sorted(self._files.items(), reverse=True):
            self._by_stem[posixpath.splitext(name)[0]] = path

    def __len__(self) -> int:
        return len(self._files)

    def find(self, annotation: Path, name: str) -> Path | None:
        """The photo that an annotation below the folder calls `name`: a path as seen from it, or a file near it."""
        written = normalize("NFC", name.replace("\\", "/"))
        wanted = [written, posixpath.basename(written)]
        found = (self._files.get(place) for place in self._places(annotation, wanted))
        return next((path for path in found if path is not None), None)

    def find_stem(self, annotation: Path) -> Path | None:
        """The photo that has an annotation's own name, whatever its suffix."""
        stem = normalize("NFC", annotation.stem)
        found = (self._by_stem.get(place) for place in self._places(annotation, [stem]))
        return next((path for path in found if path is not None), None)

    def name_of(self, path: Path) -> str:
        """A path below the folder as annotations would write it."""
        return normalize("NFC", path.relative_to(self.root).as_posix())

    def _places(self, annotation: Path, names: Sequence[str]) -> Iterator[str]:
        """Where a photo may lie, as paths below the folder; what leads out of it is left out."""
        here = posixpath.dirname(self.name_of(annotation))
        from_here = [posixpath.join(here, folder, name) for name in names for folder in BESIDE]
        from_the_root = [posixpath.join(folder, name) for name in names for folder in ("JPEGImages", "images")]
        yield from (place for place in map(inside, [*from_here, *from_the_root]) if place is not None)


def inside(place: str) -> str | None:
    """A path below a folder without `.` and `..` in it; None where it leads out, or is absolute."""
    path = posixpath.normpath(place)
    return None if path.startswith("/") or path.split("/")[0] in ("..", ".") or ":" in path.split("/")[0] else path


def suffix_of(image_format: str) -> str:
    """Of the file that a photo of one of Pillow's formats becomes: JPEGs and PNGs stay, others become PNGs."""
    return _KEPT.get(image_format, ".png")


def is_kept(image_format: str) -> bool:
    """Whether photos of one of Pillow's formats are taken over byte by byte."""
    return image_format in _KEPT
