"""Where photos to be looked at come from: files, videos, cameras."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from eps.data.images import check_image, read_image
from eps.data.photo_list import photos_at
from eps.data.video import SUFFIXES, Video
from eps.errors import UserError

THREADS = 4


class Frame(NamedTuple):
    """A photo, or a picture of a video, in RGB."""

    id: str
    image: Image.Image


@dataclass(frozen=True, kw_only=True)
class Photos:
    """Photos by id, read when they are asked for."""

    files: Mapping[str, Path]

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(photo, read_image(path).convert("RGB")) for photo, path in self.files.items())

    def unreadable(self) -> dict[str, str]:
        """By id what is wrong with those that cannot be read: all at once, before the first is looked at."""
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            told = pool.map(_fault, self.files.values())
            return {photo: fault for photo, fault in zip(self.files, told, strict=True) if fault}

    def without(self, photos: Mapping[str, str]) -> "Photos":
        """All but these."""
        return Photos(files={photo: path for photo, path in self.files.items() if photo not in photos})


@dataclass(frozen=True, kw_only=True)
class Footage:
    """The first `most` pictures of a video or camera (0: all), numbered from 1."""

    video: Video
    most: int

    @property
    def name(self) -> str:
        """What files made of it are called."""
        return f"camera{self.video.source}" if self.video.source.isdecimal() else Path(self.video.source).stem

    @property
    def path(self) -> Path | None:
        """The video's file; None for a camera or a stream, which are never the same again."""
        path = Path(self.video.source)
        return path if path.is_file() and not self.video.source.isdecimal() else None

    @property
    def total(self) -> int | None:
        """How many pictures there are, as far as that is known."""
        known = [count for count in (self.video.count, self.most or None) if count is not None]
        return min(known, default=None)

    def __iter__(self) -> Iterator[Frame]:
        pictures = islice(self.video, self.most or None)
        return (Frame(f"{self.name}/{number:06}", picture) for number, picture in enumerate(pictures, start=1))


def _fault(path: Path) -> str:
    try:
        check_image(path)
    except UserError as error:
        return str(error)
    return ""


def open_source(source: str, *, most: int) -> Photos | Footage:
    """What `source` names: a photo, a folder or list of photos, a video, an address of a stream, or a camera's number.

    Raises `UserError` where there is no such thing.
    """
    if is_footage(source):
        return Footage(video=Video(source), most=most)
    return Photos(files=photos_at(Path(source)))


def is_footage(source: str) -> bool:
    """Whether it is a video, a stream or a camera, going by its name."""
    if Path(source).is_dir():
        return False
    return source.isdecimal() or "://" in source or Path(source).suffix.lower() in SUFFIXES
