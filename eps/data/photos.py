"""A plain folder of photos with a `labels.csv`: `file,label;label`."""

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from eps.data.files import PHOTO_SUFFIXES, files_by_id, id_of
from eps.data.listing import ASIDE, Form, Listing, Places, existing, id_fault, refuse_background, set_aside, tag_fault
from eps.errors import UserError

_HEADS: Final = frozenset(
    {"file", "files", "filename", "file_name", "id", "image", "image_id", "img", "name", "path", "photo"}
)
"""What the first column is called where it has a header."""


class Row(NamedTuple):
    """One line of the table."""

    line: int
    file: str
    labels: tuple[str, ...]
    fault: str | None


def photos_form(root: Path, places: Places, *, classes: Sequence[str], val_share: float) -> Form:
    """A folder with photos in and below it; `places.tags` is its csv.

    `classes` in order, or none for those that the csv names, sorted. `val_share` of the photos, chosen by a hash of
    the id, are the split `val`, the others `train`. Raises `UserError` where folder or csv are missing.
    """
    path = existing(root, holds="the photos and labels.csv") / places.tags
    if not path.is_file():
        raise UserError(f"{path} is missing: it has a line file,label;label for each photo (see README, Your data)")
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
        read=partial(_read, root, path, places, tuple(classes), val_share),
    )


def _read(root: Path, path: Path, places: Places, classes: tuple[str, ...], val_share: float) -> Listing:
    without = [root / name for name in places.no_photos]
    photos = {i: file.relative_to(root) for i, file in files_by_id(root, PHOTO_SUFFIXES, without=without).items()}
    rows = read_rows(path, photos=photos)
    classes = classes or tuple(sorted({label for row in rows for label in row.labels}))
    if not classes:
        raise UserError(f"{path} has no label: write lines of the form file,label;label")
    refuse_background(classes, path)
    faults = _faults(path, rows, photos, classes)
    ids = list(dict.fromkeys(id_of(row.file) for row in rows))
    return Listing(
        classes=classes,
        labels={id_of(row.file): row.labels for row in rows},
        splits=set_aside(ids, val_share),
        faults=faults,
        notes=tuple(_notes(path, classes, left_out=len(photos.keys() - set(ids)))),
    )


def _notes(path: Path, classes: Iterable[str], *, left_out: int) -> Iterator[str]:
    if left_out:
        yield f"{path}: {left_out} photos of the folder are not in it and are left out"
    first: dict[str, str] = {}
    for name in classes:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            yield f"{path}: {other!r} and {name!r}, which differ in case alone, are two classes: is one meant?"


def read_rows(path: Path, *, photos: Collection[str] = ()) -> list[Row]:
    """The lines of a csv `file,label;label`, without its header, if any. Raises `UserError` if it is no csv in UTF-8.

    A header is a first line that begins with `file`, `photo` or the like, and not with an id of `photos`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [_row(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no csv in UTF-8 ({error}); save it as such: file,label;label") from error
    return rows[1:] if rows and _is_header(rows[0], photos) else rows


def _row(line: int, cells: Sequence[str]) -> Row:
    file, labels, *others = [*(cell.strip() for cell in cells), ""]
    names = dict.fromkeys(label.strip() for label in labels.split(";"))
    fault = "has more than two columns: labels are parted by semicolons" if any(others) else None
    return Row(line, file, tuple(name for name in names if name), fault)


def _is_header(row: Row, photos: Collection[str]) -> bool:
    return row.file.lower() in _HEADS and row.file not in photos


def _faults(path: Path, rows: Iterable[Row], photos: Mapping[str, Path], classes: tuple[str, ...]) -> dict[str, str]:
    """By photo, what is wrong with it first."""
    first: dict[str, Row] = {}
    faults: dict[str, str] = {}
    for row in rows:
        photo = id_of(row.file)
        earlier = first.setdefault(photo, row)
        fault = row.fault or id_fault(photo) or _file_fault(row, photos.get(photo)) or tag_fault(row.labels, classes)
        if earlier is not row:
            fault = f"has the id of line {earlier.line}: ids are file names without suffix, one line each"
        if fault:
            faults.setdefault(photo, f"{path} line {row.line}: {row.file!r} {fault}")
    return faults


def _file_fault(row: Row, found: Path | None) -> str | None:
    """What is wrong with the file, its suffix's case aside."""
    suffix = PurePosixPath(row.file).suffix.lower()
    if suffix not in PHOTO_SUFFIXES:
        return f"is no photo: its name must end in {', '.join(PHOTO_SUFFIXES)}"
    if found is None:
        return "is not in the folder"
    return None if found.suffix.lower() == suffix else f"shares its name with {found}: rename one of them"
