"""Photos that somebody has dropped on the page: read by our own reader, refused where they are too large."""

import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from eps.data.images import decode_image, read_header
from eps.errors import UserError
from eps.report_page.pictures import fit

MIB = 2**20


class Upload(NamedTuple):
    """A photo as the page works on it."""

    name: str
    """Of its file."""
    photo: Image.Image
    """RGB, upright, made smaller where it was too large."""
    original: tuple[int, int]
    """Width and height that it came with, upright."""


class Bounds(NamedTuple):
    """What a page takes."""

    mb: float
    """MiB of a file."""
    megapixels: float
    """Of a photo; more is refused before its pixels are read."""
    side: int
    """Photos are made smaller until no side has more pixels; 0: none is."""


def read_upload(path: Path, bounds: Bounds) -> Upload:
    """An uploaded file as a photo. Raises `UserError` where it is none, or out of bounds."""
    size = path.stat().st_size
    if size > bounds.mb * MIB:
        raise UserError(f"{path.name} has {size / MIB:.1f} MiB, more than the {bounds.mb:g} of app.max_upload_mb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # there is a limit of our own
        height, width = read_header(path, name=path.name).size
        if width * height > bounds.megapixels * 1e6:
            told = f"{width} x {height} pixels, more than the {bounds.megapixels:g} million of app.max_megapixels"
            raise UserError(f"{path.name} has {told}")
        photo = decode_image(path, name=path.name).convert("RGB")
    too_large = bounds.side and max(photo.size) > bounds.side
    return Upload(path.name, fit(photo, bounds.side) if too_large else photo, photo.size)


def described(upload: Upload) -> str:
    """What the page says of a photo."""
    (width, height), (was_wide, was_high) = upload.photo.size, upload.original
    if upload.photo.size == upload.original:
        return f"{upload.name}, {width} x {height} pixels"
    told = f"all that follows, files too, is of {width} x {height} (app.max_side)"
    return f"{upload.name}, {was_wide} x {was_high} pixels; {told}"
