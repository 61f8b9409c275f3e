"""The page's tables, each also as a file to take along: CSV with all digits, Markdown as it is shown."""

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from eps.report_page.rows import Row, Splits

Cell = str | float | None
AP = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}
"""COCO's six figures."""
LEAKAGE, AP50, AGREEMENT = "context leakage", "mask AP50", "agreement"
"""Columns of the scores."""


class Table(NamedTuple):
    """Names in the first column, mostly numbers in the others; None for what is not known."""

    name: str
    """Of its files."""
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: Mapping[str, int] = {}
    """Shown of a column's numbers: one, unless it stands here."""

    def shown(self) -> list[list[str]]:
        """The cells as the page has them."""
        digits = [self.digits.get(column, 1) for column in self.columns]
        return [[shown(cell, count) for cell, count in zip(row, digits, strict=True)] for row in self.rows]

    @property
    def as_csv(self) -> str:
        """A `data:` URL of the table as CSV; what is not known is empty."""
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([["" if cell is None else cell for cell in row] for row in self.rows])
        return _url(lines.getvalue(), "text/csv")

    @property
    def as_markdown(self) -> str:
        """A `data:` URL of the table as Markdown."""
        cells = [list(self.columns), ["---", *["---:"] * (len(self.columns) - 1)], *self.shown()]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
        return _url("\n".join([*lines, ""]), "text/markdown")


def shown(value: Cell, digits: int = 1) -> str:
    """A number as the tables show it; a dash for none."""
    if isinstance(value, str):
        return value
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


def score_table(rows: Sequence[Row], splits: Splits) -> Table:
    """One row a method that the run has; a score that none of them has is no column."""
    made = [row for row in rows if row.made]
    scores: dict[str, list[float | None]] = {f"mIoU {split}": [row.miou[split] for row in made] for split in splits.all}
    scores |= {LEAKAGE: [row.leakage for row in made], AP50: [row.ap50 for row in made]}
    scores |= {AGREEMENT: [row.agreement for row in made]}
    known = {name: values for name, values in scores.items() if any(value is not None for value in values)}
    columns = {"method": [row.label for row in made], **known, "seconds": [row.seconds for row in made]}
    cells = list(zip(*columns.values(), strict=True))
    return Table("scores", "Scores of each method", list(columns), cells, {LEAKAGE: 3, AGREEMENT: 3, "seconds": 0})


def more_tables(rows: Sequence[Row]) -> list[Table]:
    """Those that not every run has: IoU and AP of each class, COCO's figures, AP of tags."""
    tables = [
        _per_class("iou", "IoU of each class", {row: row.per_class for row in rows}),
        _coco(rows),
        _per_class("ap50", "Mask AP50 of each class", {row: row.instances.get("ap50_per_class") or {} for row in rows}),
        _per_class("tags", "AP of each class as a tag of photos", {row: row.tag_ap for row in rows}),
    ]
    return [table for table in tables if table is not None]


def _per_class(name: str, title: str, scores: Mapping[Row, Mapping[str, float | None]]) -> Table | None:
    told = {row: values for row, values in scores.items() if values}
    if not told:
        return None
    classes = list(dict.fromkeys(name for values in told.values() for name in values))
    means = [_mean(list(values.values())) for values in told.values()]
    cells: list[list[Cell]] = [[c, *(values.get(c) for values in told.values())] for c in classes]
    return Table(name, title, ["class", *(f"{row.label}, {row.split}" for row in told)], [*cells, ["mean", *means]])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _coco(rows: Sequence[Row]) -> Table | None:
    judged = [row for row in rows if row.instances]
    if not judged:
        return None
    columns = ["method", "split", *(f"{kind} {label}" for kind in ("mask", "box") for label in AP.values())]
    cells = [
        [row.label, row.split, *(scores.get(key) for scores in (row.instances, _boxes(row)) for key in AP)]
        for row in judged
    ]
    return Table("ap", "Average precision of instances (COCO)", columns, cells)


def _boxes(row: Row) -> Mapping[str, float | None]:
    found: Mapping[str, float | None] = row.instances.get("boxes") or {}
    return found


def _url(text: str, kind: str) -> str:
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode('ascii')}"
