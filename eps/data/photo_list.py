"""Photos that belong to no dataset: one, a folder of them, or a list of paths."""

from pathlib import Path

from eps.data.files import PHOTO_SUFFIXES, files_by_id
from eps.errors import UserError


def photos_at(place: Path) -> dict[str, Path]:
    """Photos by id: those in and below a folder by their path in it, those of a list, or one, by their names.

    A list is a text file (.txt) with a path a line, relative to the list. Raises `UserError` where there is no such
    file or folder, no photo, or two of a name.
    """
    if place.is_dir():
        found = files_by_id(place, PHOTO_SUFFIXES)
        if not found:
            raise UserError(f"source={place}: no photo in there ({', '.join(PHOTO_SUFFIXES)})")
        return dict(sorted(found.items()))
    if not place.is_file():
        raise UserError(f"source={place}: no such file or folder; give a photo, folder, list, video, or split:NAME")
    return _listed(place) if place.suffix.lower() == ".txt" else {place.stem: place}


def _listed(path: Path) -> dict[str, Path]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"source={path} is no list in UTF-8: write one path a line") from error
    found: dict[str, Path] = {}
    for line in filter(None, lines):
        photo = path.parent / line
        if photo.stem in found:
            raise UserError(f"{path}: {found[photo.stem]} and {photo} have the same name; rename one")
        if not photo.is_file():
            raise UserError(f"{path}: {photo} is missing")
        found[photo.stem] = photo
    if not found:
        raise UserError(f"source={path} is empty: write one path a line")
    return found
