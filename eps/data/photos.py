"""A plain folder of photos with a `labels.csv`: `file,label;label`."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from eps.data.files import CONVERT, PHOTO_SUFFIXES, UNREAD, id_of, names_below, names_by_id, passed_over
from eps.data.listing import ASIDE, Form, Listing, Places, existing, id_fault, refuse_background, set_aside, tag_fault
from eps.data.tag_table import FIRST_TWO, Columns, Row, read_rows
from eps.errors import UserError


def photos_form(
    root: Path, places: Places, *, classes: Sequence[str], val_share: float, columns: Columns = FIRST_TWO
) -> Form:
    """A folder with photos in and below it; `places.tags` is its csv.

    `classes` in order, or none for those that the csv names, sorted. `val_share` of the photos, chosen by a hash of
    the id, are the split `val`, the others `train`. Raises `UserError` where folder or csv are missing, or the csv has
    not the `columns` that are named.
    """
    path = existing(root, holds="the photos and labels.csv") / places.tags
    if not path.is_file():
        raise UserError(f"{path} is missing: it has a line file,label;label for each photo (see docs/DATA.md)")
    return Form(
        kind="photos",
        root=root,
        places=replace(
            places,
            photos=(".",),
            split=f"{places.tags} ({{}})",
            hints={ASIDE: f"no photo is put aside for it by data.val_share={val_share:g}"},
        ),
        sources=lambda: [path],
        read=partial(_read, root, path, places, tuple(classes), val_share, columns),
    )


def _read(
    root: Path, path: Path, places: Places, classes: tuple[str, ...], val_share: float, columns: Columns
) -> Listing:
    names = list(names_below(root, {str(root / name) for name in places.no_photos}))
    photos = {photo: Path(name) for photo, name in names_by_id(names, PHOTO_SUFFIXES).items()}
    rows = read_rows(path, photos=photos, classes=classes, columns=columns)
    classes = classes or tuple(sorted({label for row in rows for label in row.labels}))
    if not classes:
        raise UserError(f"{path} has no label: write lines of the form file,label;label")
    refuse_background(classes, path)
    faults = _faults(path, rows, photos, classes, names)
    ids = list(dict.fromkeys(id_of(row.file) for row in rows))
    return Listing(
        classes=classes,
        labels={id_of(row.file): row.labels for row in rows},
        splits=set_aside(ids, val_share),
        faults=faults,
        notes=tuple(_notes(root, names, path, classes, left_out=len(photos.keys() - set(ids)))),
    )


def _notes(root: Path, names: Sequence[str], path: Path, classes: Sequence[str], *, left_out: int) -> Iterator[str]:
    if left_out:
        yield f"{path}: {left_out} photos of the folder are not in it and are left out"
    yield from (f"{root}: {told}" for told in passed_over(names))
    first: dict[str, str] = {}
    for name in classes:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            yield f"{path}: {other!r} and {name!r}, which differ in case alone, are two classes: is one meant?"


def _faults(
    path: Path, rows: Sequence[Row], photos: Mapping[str, Path], classes: tuple[str, ...], names: Sequence[str]
) -> dict[str, str]:
    """By photo, what is wrong with it first."""
    there = {_whole(name) for name in names}
    first: dict[str, Row] = {}
    faults: dict[str, str] = {}
    by_name = defaultdict(list)
    for found in photos.values():
        by_name[_name(str(found))].append(found.as_posix())
    for file in [name for name in names if name.lower().endswith(UNREAD) and _name(name) not in by_name]:
        by_name[_name(file)].append(file)
    for row in rows:
        photo = id_of(row.file)
        earlier = first.setdefault(photo, row)
        fault = row.fault or _place_fault(row, photos.get(photo), by_name, there) or tag_fault(row.labels, classes)
        if earlier is not row:
            fault = f"has the id of line {earlier.line}: ids are file names without suffix, one line each"
        if fault:
            faults.setdefault(photo, f"{path} line {row.line}: {row.file!r} {fault}")
    return faults


def _place_fault(
    row: Row, found: Path | None, by_name: Mapping[str, Sequence[str]], there: Collection[str]
) -> str | None:
    """What is wrong with the file, its suffix's case aside, with a guess where one photo alone can be meant."""
    suffix = PurePosixPath(row.file).suffix.lower()
    fault = id_fault(id_of(row.file))
    if not fault and suffix not in PHOTO_SUFFIXES:
        head = " (a line of column names begins with file, or give eps init --photo-column)" if row.line == 1 else ""
        fault = f"is no photo: its name must end in {', '.join(PHOTO_SUFFIXES)}{head}"
        fault = f"is of a kind that is not read: {CONVERT}" if suffix in UNREAD else fault
    if not fault and found is not None:
        if found.suffix.lower() == suffix:
            return None
        if _whole(row.file) in there:
            return f"shares its name with {found}: rename one of them"
    fault = fault or "is not in the folder"
    meant = by_name.get(_name(row.file), ())
    if len(meant) != 1 or (suffix in UNREAD and meant[0].lower().endswith(UNREAD)):
        return fault
    if meant[0].lower().endswith(UNREAD):
        return f"{fault}; {meant[0]!r} is of a kind that is not read: {CONVERT}"
    if normalize("NFC", row.file) == normalize("NFC", meant[0]):
        return f"{fault} by these code points, though it looks the same: copy the name from there"
    return f"{fault}; did you mean {meant[0]!r}?"


def _whole(file: str) -> str:
    """A file below the folder where the case of its suffix does not count."""
    stem, suffix = os.path.splitext(file)
    return stem + suffix.lower()


def _name(file: str) -> str:
    """What is left of a path where folders, suffix, case and the writing of accents do not count."""
    name = PurePosixPath(file.replace("\\", "/"))
    return normalize("NFC", name.stem if name.suffix.lower() in (*PHOTO_SUFFIXES, *UNREAD) else name.name).casefold()
