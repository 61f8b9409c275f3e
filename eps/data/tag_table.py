"""A table of tags, a line `file,label;label` for each photo, as people and spreadsheets write it."""

import csv
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from eps.data.files import PHOTO_SUFFIXES, demand_regular
from eps.errors import UserError

_HEADS: Final = frozenset({"file", "files", "filename", "id", "image", "img", "name", "path", "photo"})
"""Words of which one stands in the first column's name where it has a header."""
_SEPARATORS: Final = (",", ";", "\t")
"""Of columns: spreadsheets write semicolons where a comma is what decimals have."""
_MARKS: Final = frozenset({"0", "1", "x", "true", "false", "yes", "no", "ja", "nein"})
"""In a table with a column for each class; no names."""


class Row(NamedTuple):
    """One line of the table."""

    line: int
    file: str
    labels: tuple[str, ...]
    fault: str | None


def read_rows(path: Path, *, photos: Collection[str] = (), classes: Collection[str] = ()) -> list[Row]:
    """The lines of a table without its header, if any.

    Raises `UserError` if it is no csv in UTF-8, or has marks where names should be.

    Columns are parted by what leaves the most photos' names in the first one. A header is a first line that begins with
    `file`, `photo name` or the like, and not with an id of `photos`. Labels are parted by semicolons, or, where a cell
    has none and is no name of `classes`, by commas.
    """
    demand_regular(path)
    try:
        rows = _rows(path.read_bytes().decode("utf-8-sig"), classes)
    except (UnicodeDecodeError, csv.Error) as error:
        advice = "save it as such ('CSV UTF-8' in a spreadsheet): file,label;label"
        raise UserError(f"{path} is no csv in UTF-8 ({error}); {advice}") from error
    rows = rows[1:] if rows and _is_header(rows[0], photos) else rows
    labels = {label for row in rows for label in row.labels}
    if labels and labels.isdisjoint(classes) and {label.lower() for label in labels} <= _MARKS:
        raise UserError(
            f"{path} has a column for each class, it seems, and {', '.join(sorted(labels))} in them: write the names "
            "of what a photo shows into one column, file,dog;cat"
        )
    return rows


def _rows(text: str, classes: Collection[str]) -> list[Row]:
    """Raises `csv.Error` where the text is no table with any of the separators."""
    read: list[list[Row]] = []
    refused: list[csv.Error] = []
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        try:
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
        except csv.Error as error:
            refused.append(error)
            continue
        read.append([_row(line, cells, separator, classes) for line, cells in lines])
    if not read:
        raise refused[0]
    return max(read, key=lambda rows: sum(row.file.lower().endswith(PHOTO_SUFFIXES) for row in rows))


def _row(line: int, cells: Sequence[str], separator: str, classes: Collection[str]) -> Row:
    file, *others = (cell.strip() for cell in cells)
    if separator == ";":  # between labels, too
        others = [";".join(others)]
    labels = "".join(others[:1])
    names = dict.fromkeys(label.strip() for label in labels.split(";" if ";" in labels or labels in classes else ","))
    fault = 'has more than two columns: write labels into one, dog;cat or "dog,cat"' if any(others[1:]) else None
    return Row(line, file, tuple(name for name in names if name), fault)


def _is_header(row: Row, photos: Collection[str]) -> bool:
    words = re.split(r"[\W_]+", row.file.lower())
    is_photo = row.file.lower().endswith(PHOTO_SUFFIXES) or row.file in photos
    return not is_photo and not _HEADS.isdisjoint(words)
