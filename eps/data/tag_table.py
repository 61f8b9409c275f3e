"""A table of tags, a line `file,label;label` for each photo, as people and spreadsheets write it."""

import csv
import io
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from unicodedata import normalize

from eps.data.files import PHOTO_SUFFIXES, UNREAD, demand_regular
from eps.errors import UserError

_HEADS: Final = frozenset({"file", "files", "filename", "id", "image", "img", "name", "path", "photo"})
"""Words of which one stands in the first column's name where it has a header."""
_SEPARATORS: Final = (",", ";", "\t")
"""Of columns: spreadsheets write semicolons where a comma is what decimals have."""
_MARKS: Final = frozenset({"0", "1", "x", "true", "false", "yes", "no", "ja", "nein"})
"""In a table with a column for each class; no names."""
_WIDE: Final = (BOM_UTF16_LE, BOM_UTF16_BE)
"""What 'Unicode text' of spreadsheets begins with."""
_TOO_WIDE: Final = (
    'has more than two columns: write labels into one, dog;cat or "dog,cat", or tell eps init which columns to read'
    " (--photo-column NAME --tags-column NAME)"
)
_BETWEEN: Final = re.compile(r"[;|]")
"""Labels, whatever else may be in their names."""


_SEPARATOR_TOLD: Final = re.compile(r"\Asep=.\r?\n", re.IGNORECASE)
"""A first line that Excel writes and reads, of no table."""


class Columns(NamedTuple):
    """What the header calls the columns to read, in whatever case; the first one and the next where it has none."""

    photo: str = ""
    tags: str = ""


FIRST_TWO: Final = Columns()


class Row(NamedTuple):
    """One line of the table."""

    line: int
    file: str
    labels: tuple[str, ...]
    fault: str | None


class _Cells(NamedTuple):
    """What of a line is read: its labels are in `tags`, of which there should be one."""

    line: int
    file: str
    tags: tuple[str, ...]


class _Table(NamedTuple):
    """The lines of a file by one of the separators, with the number of each."""

    separator: str
    lines: list[tuple[int, list[str]]]


def read_rows(
    path: Path, *, photos: Collection[str] = (), classes: Collection[str] = (), columns: Columns = FIRST_TWO
) -> list[Row]:
    """The lines of a table without its header, if any.

    Raises `UserError` if it is no csv in UTF-8, has marks where names should be, or not the columns that are named.

    Columns are parted by what leaves the most photos' names in the first one, or makes the header have those that are
    named. Without names a header is a first line that begins with `file`, `photo name` or the like, and not with an id
    of `photos`. Labels are parted by semicolons and bars, or, where a cell has neither, by commas: unless all of it is
    a name of `classes`, or one that stands between semicolons or bars elsewhere.
    """
    demand_regular(path)
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(_WIDE) else "utf-8-sig")
        if "\0" in text:
            raise csv.Error("there are zero bytes in it")
        tables = _tables(_SEPARATOR_TOLD.sub("", text))
    except (UnicodeDecodeError, csv.Error) as error:
        advice = "save it as such ('CSV UTF-8' in a spreadsheet): file,label;label"
        raise UserError(f"{path} is no csv in UTF-8 ({error}); {advice}") from error
    cells = _of_columns(path, tables, columns) if any(columns) else _of_first_columns(tables, photos)
    rows = _rows(cells, classes)
    labels = {label for row in rows for label in row.labels}
    if labels and labels.isdisjoint(classes) and {label.lower() for label in labels} <= _MARKS:
        raise UserError(
            f"{path} has a column for each class, it seems, and {', '.join(sorted(labels))} in them: write the names "
            "of what a photo shows into one column, file,dog;cat"
        )
    return rows


def _tables(text: str) -> list[_Table]:
    """What the text is by each separator that makes it a table. Raises `csv.Error` where none does."""
    read: list[_Table] = []
    refused: list[csv.Error] = []
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        try:
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
        except csv.Error as error:
            refused.append(error)
            continue
        read.append(_Table(separator, [(number, cells) for number, cells in lines if any(cells)]))
    if not read:
        raise refused[0]
    return read


def _of_first_columns(tables: Sequence[_Table], photos: Collection[str]) -> list[_Cells]:
    separator, lines = max(tables, key=lambda table: sum(_is_photo(cells[0]) for _, cells in table.lines))
    found = [_Cells(number, cells[0], _joined(cells[1:], separator)) for number, cells in lines]
    return found[1:] if found and _is_header(found[0].file, photos) else found


def _of_columns(path: Path, tables: Sequence[_Table], columns: Columns) -> list[_Cells]:
    """Raises `UserError` where the first line has not the names, or does not tell which column is the other one."""
    if not (header := max((table.lines[0][1] for table in tables if table.lines), key=len, default=[])):
        raise UserError(f"{path} is empty: its first line has the names of its columns")
    for separator, lines in tables:
        names = [_same(name) for name in lines[0][1]]
        if all(_same(name) in names for name in columns if name):
            photo, tags = _places(path, lines[0][1], [names.index(_same(name)) if name else None for name in columns])
            return list(_picked(separator, lines, photo, tags))
    missing = next(name for name in columns if name and _same(name) not in map(_same, header))
    raise UserError(f"{path} has no column {missing!r}: its first line is {', '.join(header)}")


def _places(path: Path, header: Sequence[str], named: Sequence[int | None]) -> tuple[int, int]:
    photo, tags = named
    left = [place for place in range(len(header)) if place not in named]
    if photo is None and left:
        photo = left[0]
    elif tags is None and len(left) == 1:
        tags = left[0]
    if photo is None or tags is None or photo == tags:
        raise UserError(f"{path}: which of its columns has photos, and which labels? There are {', '.join(header)}")
    return photo, tags


def _picked(separator: str, lines: Sequence[tuple[int, list[str]]], photo: int, tags: int) -> Iterator[_Cells]:
    is_last = tags == len(lines[0][1]) - 1
    for number, cells in lines[1:]:
        wide = [*cells, *[""] * (max(photo, tags) + 1 - len(cells))]
        yield _Cells(number, wide[photo], _joined(wide[tags:] if is_last else wide[tags : tags + 1], separator))


def _joined(cells: Sequence[str], separator: str) -> tuple[str, ...]:
    """Where semicolons part columns, they part labels, too."""
    return (";".join(cells),) if separator == ";" else tuple(cells)


def _rows(cells: Sequence[_Cells], classes: Collection[str]) -> list[Row]:
    parted = {
        name.strip() for one in cells if _BETWEEN.search("".join(one.tags[:1])) for name in _BETWEEN.split(one.tags[0])
    }
    known = parted.union(classes)
    return [_row(one, known) for one in cells]


def _row(cells: _Cells, known: Collection[str]) -> Row:
    labels = "".join(cells.tags[:1])
    names = [labels] if labels in known else _BETWEEN.split(labels) if _BETWEEN.search(labels) else labels.split(",")
    fault = _TOO_WIDE if any(cells.tags[1:]) else None
    return Row(cells.line, cells.file, tuple(filter(None, dict.fromkeys(name.strip() for name in names))), fault)


def _is_photo(name: str) -> bool:
    return name.lower().endswith((*PHOTO_SUFFIXES, *UNREAD))


def _is_header(file: str, photos: Collection[str]) -> bool:
    words = re.split(r"[\W_]+", file.lower())
    return not _is_photo(file) and file not in photos and not _HEADS.isdisjoint(words)


def _same(name: str) -> str:
    """A column's name where neither case nor the writing of accents counts."""
    return normalize("NFC", name.strip()).casefold()
