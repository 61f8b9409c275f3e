"""What a dataset's own files say of it, in whatever form: classes, tags, splits, and what is wrong with them."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eps.data.class_names import BACKGROUND
from eps.data.files import LONGEST, demand_regular, is_safe, is_short
from eps.errors import UserError

ASIDE = "val"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Classes in order, the tags of each photo, and the ids of each split as they stand there.

    `sizes` are the (height, width) that annotations state, of photos of which they do. `faults` tells of photos without
    usable tags why they have none; `notes` is worth knowing, but no fault.
    """

    classes: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a form keeps what, relative to its root (absolute paths are taken as they are)."""

    photos: tuple[str, ...] = ("JPEGImages",)
    """Folders that hold them, themselves or below."""
    no_photos: tuple[str, ...] = ()
    """Folders in these that do not."""
    saliency: str = "SALImages"
    tags: str = "image_labels.json"
    split: str = "ImageSets/Segmentation/{}.txt"
    """What makes the split of that name."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """How to come by a split that is missing."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One kind of dataset in its folder: `read` reads `sources`, the files that say which photos and tags there are.

    `settings` are what the listing depends on beside them. `indexed`: reading takes long enough for an index to pay.
    """

    kind: str
    root: Path
    places: Places
    sources: Callable[[], Sequence[Path]]
    read: Callable[[], Listing]
    settings: tuple[str, ...] = ()
    indexed: bool = False


def existing(root: Path, *, holds: str) -> Path:
    """The folder itself. Raises `UserError` where there is none."""
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder; give the folder that holds {holds}")
    return root


def folder_with(child: str, root: Path, places: Sequence[str], *, usual: str) -> Path:
    """The first of `places` below `root` that has the folder `child`; raises `UserError`, naming the usual one."""
    for place in places:
        if (root / place / child).is_dir():
            return root / place
    raise UserError(f"data.root={root}: there is no {child}/ in it, nor in {usual}/ below it")


def list_files(root: Path) -> list[Path]:
    """The split lists of a folder: `ImageSets/Segmentation/*.txt`."""
    return sorted((root / "ImageSets" / "Segmentation").glob("*.txt"))


def read_lists(root: Path, id_of_line: Callable[[str], str]) -> dict[str, tuple[str, ...]]:
    """The ids of every split list. Raises `UserError` for a file that is no text."""
    return {path.stem: tuple(map(id_of_line, read_list(path))) for path in list_files(root)}


def set_aside(ids: Sequence[str], val_share: float, *, chance: str = "") -> dict[str, tuple[str, ...]]:
    """The splits `train` and, if any, `val`: so large a share of the photos, chosen by a hash of the id.

    Another `chance` chooses others: of photos that are left once some are put aside, the same would choose none.
    """
    aside = {photo for photo in ids if _share(chance + photo) < val_share}
    train = tuple(photo for photo in ids if photo not in aside)
    val = tuple(photo for photo in ids if photo in aside)
    return {"train": train, ASIDE: val} if val else {"train": train}


def _share(photo: str) -> float:
    """A number in 0..1 that is the id's for ever, whichever photos come and go."""
    digest = hashlib.sha256(photo.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def refuse_background(classes: Sequence[str], path: Path) -> None:
    """Raises `UserError` where a class is called so: label maps have a background of their own."""
    if BACKGROUND in classes:
        raise UserError(f"{path}: {BACKGROUND!r} is no class: leave it out, what belongs to no class is background")


def tag_fault(tags: Sequence[str], classes: Sequence[str]) -> str | None:
    """What is wrong with a photo's tags, if anything."""
    unknown = next((tag for tag in tags if tag not in classes), None)
    return None if unknown is None else f"has the unknown tag {unknown!r}; known are {', '.join(classes)}"


def id_fault(photo: str) -> str | None:
    """What is wrong with an id, if anything: artifacts are written under it."""
    if not is_safe(photo):
        return "is no id: ids are paths below the folder of the photos, without .. and suffix"
    return None if is_short(photo) else f"is too long, files are written under it: {LONGEST} bytes at most, rename it"


def read_list(path: Path) -> list[str]:
    """The lines of a list, empty ones left out. Raises `UserError` for what is no file, or no text."""
    demand_regular(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 ({error}); write one id a line") from error
    return [line.strip() for line in lines if line.strip()]


def id_of_line(line: str) -> str:
    """The id alone, or that of the photo in lists of the form `/JPEGImages/<id>.jpg /SegmentationClassAug/<id>.png`."""
    pair = re.fullmatch(r"/?JPEGImages/(\S+)\.\w+(\s.*)?", line)
    return pair[1] if pair else line
