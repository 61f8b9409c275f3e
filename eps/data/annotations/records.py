"""Photos as somebody has annotated them, whatever the tool, and what is to be told of their files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

from eps.data.class_names import BACKGROUND
from eps.data.files import LONGEST, is_safe, is_short
from eps.errors import one_line, some

EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class AnnotatedObject:
    """One object: a segmentation as COCO has it (polygons or run lengths), or None where only its box is known."""

    label: str
    segmentation: Any | None
    box: tuple[float, float, float, float]
    """x, y, width, height in pixels."""
    area: float
    crowd: bool = False
    facts: Mapping[str, int | float] = field(default_factory=dict)
    """What else the tool says of it."""


@dataclass(frozen=True, kw_only=True)
class AnnotatedPhoto:
    """One photo with its objects."""

    id: str
    size: tuple[int, int]
    """Height and width, upright."""
    image: Path | bytes
    """Its file, or what one would hold."""
    format: str
    """Pillow's name of the image's format."""
    file: Path
    """Of its annotations."""
    objects: tuple[AnnotatedObject, ...]
    tags: tuple[str, ...] = ()
    """Classes that are in the photo by another word than an object's."""


@dataclass(frozen=True)
class Report:
    """What a conversion tells: faults, which must be mended, and notes on what is left out, by kind."""

    faults: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def fault(self, text: str) -> None:
        """A line that names the file."""
        self.faults.append(_one_line(text))

    def note(self, kind: str, where: str) -> None:
        """Something of this kind is left out, or taken in another way."""
        self.left_out.setdefault(_one_line(kind), []).append(_one_line(where))

    def notes(self) -> list[str]:
        """A line for each kind, with how often and some examples."""
        return [f"{len(found)} {kind}: {some(found, most=EXAMPLES)}" for kind, found in self.left_out.items()]


def label_of(value: Any) -> str:
    """A label in Unicode's composed form and without space around it. Raises ValueError where it is none."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"the label {value!r} is no text")
    label = normalize("NFC", value.strip())
    if any(category(character) in ("Cc", "Cs") for character in label):
        raise ValueError(f"the label {label!r} has characters that no text should hold")
    if label == BACKGROUND:
        raise ValueError("'background' is no class: leave such shapes out, what belongs to no class is background")
    return label


def photo_id(name: str) -> str:
    """The id of a photo by its path below the source, without suffix and without the folder that photos lie in.

    Raises ValueError where it cannot be a file's name below a folder.
    """
    stem, dot, _ = name.rpartition(".")
    photo = stem if dot and stem else name
    for folder in ("JPEGImages/", "images/"):
        photo = photo.removeprefix(folder)
    if not is_safe(photo):
        raise ValueError(f"{name!r} is no name of a photo: paths below the source, without ..")
    if not is_short(photo):
        raise ValueError(f"{name!r} is too long, files are written under it: {LONGEST} bytes at most, rename it")
    return photo


def _one_line(text: str) -> str:
    """As UTF-8 can write it, which names of files need not be."""
    return one_line(text.encode("utf-8", "backslashreplace").decode("utf-8"))
