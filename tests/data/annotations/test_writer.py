from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eps.data.annotations.records import AnnotatedPhoto
from eps.data.annotations.writer import write_photo


@pytest.mark.parametrize(("form", "as_bytes"), [("JPEG", False), ("PNG", False), ("JPEG", True)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_photos_are_written_upright(tmp_path: Path, form: str, as_bytes: bool, orientation: int) -> None:
    """For tools that do not look at EXIF data; what is upright already stays as it is, byte by byte."""
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"photo.{form.lower()}"
    Image.fromarray(pixels).save(file, format=form, exif=exif)
    size = (32, 16) if orientation == 6 else (16, 32)
    held = file.read_bytes() if as_bytes else file
    write_photo(tmp_path / "out", AnnotatedPhoto(id="a", size=size, image=held, format=form, file=file, objects=()))
    [written] = (tmp_path / "out" / "JPEGImages").iterdir()
    with Image.open(written) as image:
        assert image.format == form
        assert image.size == size[::-1]
        if orientation == 1:
            assert written.read_bytes() == file.read_bytes()
        else:
            assert image.getexif().get(0x0112, 1) == 1
            white = np.asarray(image)
            corner = white[:12] if orientation == 6 else white[:, -12:]
            assert corner.min() > 200
