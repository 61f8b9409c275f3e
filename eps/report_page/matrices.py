"""Which classes come together in photos, and which are taken for which: matrices as heat maps."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from eps.report_page.charts import Chart, drawing, svg
from eps.report_page.tables import Table

WITH_NUMBERS = 9
"""Columns up to which the cells have room for numbers."""
_SHADES = LinearSegmentedColormap.from_list("shades", [(0.25, 0.53, 0.77, 0.0), (0.25, 0.53, 0.77, 1.0)])
"""From the page's paper, light or dark, to blue."""


def cooccurrence(labels: Mapping[str, Sequence[str]], classes: Sequence[str]) -> Float[np.ndarray, "c c"]:
    """[i, j]: the share of the photos with class i that show class j, too; nan for a class without photos."""
    shown = np.array([[name in names for name in classes] for names in labels.values()], dtype=np.float64)
    together = shown.T @ shown if len(shown) else np.zeros((len(classes), len(classes)))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Float[np.ndarray, "c c"] = together / np.diagonal(together)[:, None]
    return shares


def cooccurrence_chart(labels: Mapping[str, Sequence[str]], classes: Sequence[str], *, split: str) -> Chart:
    """Co-occurrence of tags: what a classifier may take for a part of a class."""
    shares = cooccurrence(labels, classes)
    pairs = [
        (shares[i, j], classes[i], classes[j])
        for a, b in combinations(range(len(classes)), 2)
        for i, j in ((a, b), (b, a))
        if shares[i, j] > 0
    ]
    told = [f"{share:.0%} of photos with {one} show {other}" for share, one, other in sorted(pairs, reverse=True)[:3]]
    return _chart(
        "Classes that come together",
        shares,
        classes,
        classes,
        axes=("photos with", "also show"),
        alt=f"Co-occurrence of tags in {split}: {'; '.join(told) or 'no two classes come together'}",
        note=f"Tags of {split}: the share of the photos with a row's class that show the column's, too. "
        "Where it is high, tags alone do not tell the two apart.",
        name="cooccurrence",
    )


def confusion_chart(
    label: str, name: str, matrix: Integer[np.ndarray, "n m"], names: Sequence[str], *, split: str
) -> Chart:
    """What the pixels of each class are taken for, as shares of a row; the last column is what was left open."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = matrix / matrix.sum(axis=1, keepdims=True)
    columns = [*names, "left open"] if matrix[:, -1].any() else list(names)
    wrong = [
        (shares[i, j], names[i], columns[j])
        for i in range(len(names))
        for j in range(len(columns))
        if i != j and shares[i, j] > 0
    ]
    told = [f"{share:.0%} of {true} is taken for {found}" for share, true, found in sorted(wrong, reverse=True)[:3]]
    return _chart(
        f"What is taken for what: {label}",
        shares[:, : len(columns)],
        names,
        columns,
        axes=("truth", "found"),
        alt=f"Confusion of {label} on {split}: {'; '.join(told) or 'none'}",
        note=f"{label} on {split}: the share of the pixels of a row's class that are labelled as the column's.",
        name=f"confusion_{name}",
    )


def _chart(
    title: str,
    shares: Float[np.ndarray, "r c"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    axes: tuple[str, str],
    alt: str,
    note: str,
    name: str,
) -> Chart:
    side = min(4.6, 1.2 + 0.34 * len(rows))
    with drawing(side) as (figure, area):
        area.imshow(np.nan_to_num(shares), cmap=_SHADES, vmin=0, vmax=1, interpolation="none", aspect="auto")
        _ticks(area, rows, columns)
        area.set_ylabel(axes[0])
        area.set_xlabel(axes[1])
        area.grid(visible=False)
        if len(columns) <= WITH_NUMBERS:
            for (row, column), share in np.ndenumerate(shares):
                if share >= 0.005:
                    written = area.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=6)
                    if share > 0.6:
                        written.set_color("white")
        drawn = svg(figure, title)
    cells = [
        [row, *(None if np.isnan(value) else float(value) for value in values)]
        for row, values in zip(rows, shares, strict=True)
    ]
    table = Table(name, title, [f"{axes[0]} \\ {axes[1]}", *columns], cells, dict.fromkeys(columns, 3))
    return Chart(title, drawn, alt, note, table)


def _ticks(area: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    size = 8 if len(rows) <= 24 else max(2.5, 8 * 24 / len(rows))
    area.set_yticks(range(len(rows)), rows, fontsize=size)
    area.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size)
