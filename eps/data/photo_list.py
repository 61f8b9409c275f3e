"""Photos that belong to no dataset: one, a folder of them, or a list of paths."""

from pathlib import Path

from eps.data.files import (
    LONGEST,
    PHOTO_SUFFIXES,
    demand_regular,
    files_by_id,
    is_short,
    is_text,
    names_below,
    passed_over,
)
from eps.errors import UserError


def photos_at(place: Path) -> dict[str, Path]:
    """Photos by id: those in and below a folder by their path in it, those of a list, or one, by their names.

    A list is a text file (.txt) with a path a line, relative to the list. Raises `UserError` where there is no such
    file or folder, no photo, two of a name, or a name under which nothing can be written.
    """
    found = _found(place)
    for photo, path in found.items():
        if not is_text(photo):
            raise UserError(f"source={str(place)!a}: {str(path)!a} is no name in UTF-8 that can be shown: rename it")
        if not is_short(photo):
            raise UserError(f"{path}: its name is too long, files are called after it: {LONGEST} bytes at most")
    return found


def _found(place: Path) -> dict[str, Path]:
    if place.is_dir():
        found = files_by_id(place, PHOTO_SUFFIXES)
        if not found:
            others = "".join(f"; {told}" for told in passed_over(list(names_below(place))))
            raise UserError(f"source={place}: no photo in there ({', '.join(PHOTO_SUFFIXES)}){others}")
        return dict(sorted(found.items()))
    demand_regular(place)
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
