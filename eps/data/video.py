"""Videos and cameras, read and written with OpenCV: the extra `video`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from PIL import Image

from eps.errors import UserError

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
USUAL_RATE = 25.0
"""Of pictures a second, where a camera does not say."""


class Video:
    """A video file, a stream's address or a camera's number: how fast and how long it is, and its pictures.

    Raises `UserError` where OpenCV is not installed or cannot open it.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        with self._opened() as capture:
            cv2 = _opencv()
            self.rate = float(capture.get(cv2.CAP_PROP_FPS)) or USUAL_RATE
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None
        """How many pictures there are, as far as the file says."""

    def __iter__(self) -> Iterator[Image.Image]:
        """The pictures in RGB, one after the other, upright."""
        with self._opened() as capture:
            while True:
                there, pixels = capture.read()
                if not there:
                    return
                yield Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        capture = _opencv().VideoCapture(int(self.source) if self.source.isdecimal() else self.source)
        try:
            if not capture.isOpened():
                kind = "camera" if self.source.isdecimal() else "video"
                raise UserError(f"source={self.source}: OpenCV cannot open this {kind}")
            yield capture
        finally:
            capture.release()


class VideoWriter:
    """An mp4 file of pictures of one size, `rate` a second; a context manager."""

    def __init__(self, path: Path, *, rate: float) -> None:
        self.path, self.rate = path, rate
        self._writer: Any = None
        self._size = (0, 0)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, picture: Image.Image) -> None:
        """Add a picture. Raises `UserError` where it has another size than the first, or nothing can be written."""
        if self._writer is None:
            self._open(picture)
        if picture.size != self._size:
            raise UserError(f"{self.path}: a picture of {picture.size} after ones of {self._size}")
        self._writer.write(np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1]))

    def _open(self, picture: Image.Image) -> None:
        cv2 = _opencv()
        self._size = picture.size
        self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, self._size)
        if not self._writer.isOpened():
            raise UserError(f"{self.path}: this OpenCV cannot write mp4 videos; choose format=picture")


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise UserError("videos and cameras need OpenCV: pip install 'eps-seg[video]'") from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # what cannot be opened we say ourselves
    return cv2
