"""Curves and bars, drawn by matplotlib as SVG that takes its ink from the page."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullFormatter

from eps.report_page.rows import Row
from eps.report_page.tables import Table

COLORS = {
    "cam": "#d9822b",
    "eps": "#3f88c5",
    "eps_crf": "#2a9d8f",
    "segmenter": "#9467bd",
    "deeplab": "#c2527c",
    "segmenter_truth": "#8a929a",
    "deeplab_truth": "#b3a58c",
}
"""Of each row, readable on light and on dark paper."""
_INK = "#123456"
"""Stands for the page's text colour, which a chart cannot know while it is drawn."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,  # a class may be called $5
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    **{f"{part}.color": _INK for part in ("text", "xtick", "ytick")},
    **{f"axes.{part}color": _INK for part in ("edge", "label")},
}
_WIDTH = 4.6
_POINTS = 200


class Chart(NamedTuple):
    title: str
    svg: Markup
    alt: str
    note: str
    table: Table | None = None
    """Its numbers, where no other table has them."""


class Curve(NamedTuple):
    """A curve over thresholds, with the threshold that was taken."""

    label: str
    color: str
    thresholds: Sequence[float]
    values: Sequence[float]
    taken: float


def loss_chart(title: str, history: Sequence[Mapping[str, float]], *, note: str) -> Chart:
    """The terms of a training's loss over its steps, one or more, as written down and smoothed."""
    terms = list(history[0])
    curves = [_thinned(np.array([step[term] for step in history])) for term in terms]
    levels = [level for _, values in curves for level in values]
    with drawing(2.5) as (figure, axes):
        for number, (term, (steps, values)) in enumerate(zip(terms, curves, strict=True)):
            axes.plot(steps, values, color=f"C{number}", alpha=0.25, linewidth=0.8)
            axes.plot(steps, _smoothed(values), color=f"C{number}", label=term)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
        axes.margins(x=0.01)
        axes.set_ylabel("loss, log scale")
        axes.set_yscale("log")
        axes.set_ylim(0.8 * min(levels), 1.25 * max(levels))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        _legend(figure, len(terms))
        ends = ", ".join(f"{term} from {history[0][term]:.2f} to {history[-1][term]:.2f}" for term in terms)
        return Chart(title, svg(figure, title), f"{title}: loss over {len(history)} steps; {ends}", note)


def threshold_chart(title: str, curves: Sequence[Curve], *, quantity: str, note: str) -> Chart:
    """Curves over background thresholds; a dot marks the threshold that was taken."""
    with drawing(2.5) as (figure, axes):
        for curve in curves:
            axes.plot(curve.thresholds, curve.values, color=curve.color, label=f"{curve.label}: {curve.taken:g}")
            axes.axvline(curve.taken, color=curve.color, linewidth=0.8, linestyle=":")
            height = np.interp(curve.taken, curve.thresholds, curve.values)
            axes.plot([curve.taken], [height], "o", color=curve.color, markersize=4)
        axes.set_xlabel("background threshold")
        axes.set_ylabel(quantity)
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, 1)
        _legend(figure, len(curves))
        taken = ", ".join(f"{curve.label} takes {curve.taken:g}" for curve in curves)
        return Chart(title, svg(figure, title), f"{quantity} over background thresholds; {taken}", note)


def progress_chart(title: str, curves: Mapping[str, Sequence[tuple[int, float]]], *, quantity: str, note: str) -> Chart:
    """A score at a few moments of each training, over the share of its steps that were done then."""
    with drawing(2.5) as (figure, axes):
        for number, (label, points) in enumerate(curves.items()):
            steps, values = zip(*points, strict=True)
            shares = [100 * step / steps[-1] for step in steps]
            axes.plot(shares, values, "o-", color=f"C{number}", markersize=3, label=f"{label}: {values[-1]:.2f}")
        axes.set_xlabel("steps done, percent")
        axes.set_ylabel(quantity)
        axes.set_ylim(0, 1)
        axes.set_xlim(0, 102)
        _legend(figure, 2)
        ends = ", ".join(f"{label} from {p[0][1]:.2f} to {p[-1][1]:.2f}" for label, p in curves.items())
        return Chart(title, svg(figure, title), f"{title}: {quantity} while training; {ends}", note)


def class_chart(title: str, rows: Sequence[Row], *, note: str) -> Chart:
    """The IoU of every class, one bar a row."""
    classes = list(dict.fromkeys(name for row in rows for name in row.per_class))
    bar = 0.8 / max(1, len(rows))
    with drawing(0.8 + len(classes) * (0.1 * len(rows) + 0.1)) as (figure, axes):
        for number, row in enumerate(rows):
            values = [row.per_class.get(name) or 0.0 for name in classes]
            places = np.arange(len(classes)) + (number - (len(rows) - 1) / 2) * bar
            axes.barh(places, values, height=0.9 * bar, color=COLORS[row.name], label=f"{row.label}, {row.split}")
        axes.set_yticks(range(len(classes)), classes)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("IoU in percent")
        axes.grid(visible=False, axis="y")
        _legend(figure, 2)
        return Chart(title, svg(figure, title), f"{title}; the numbers stand in the table below", note)


@contextmanager
def drawing(height: float) -> Iterator[tuple[Figure, Axes]]:
    """An empty chart of the page's width and so many inches high, in the page's style."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def _legend(figure: Figure, columns: int) -> None:
    figure.legend(loc="outside upper left", ncols=max(1, min(columns, 4)), labelcolor=_INK)


def _thinned(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middles of at most `_POINTS` runs of neighbouring steps, counted from 1, and the mean of each."""
    blocks = np.array_split(np.arange(len(values)), min(len(values), _POINTS))
    means = np.array([values[block].mean() for block in blocks])
    return np.array([block.mean() + 1 for block in blocks]), np.maximum(means, 1e-4)  # a log scale has no 0


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The geometric running mean over a fifteenth of the run, over what there is of it at both ends."""
    window = np.ones(2 * (len(values) // 30) + 1)
    weights = np.convolve(np.ones(len(values)), window, "same")
    return np.exp(np.convolve(np.log(values), window, "same") / weights)


def svg(figure: Figure, title: str) -> Markup:
    """Inline SVG: the page's ink and width, no ids in common with other charts, nothing around it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    prefix = re.sub(r"\W+", "-", title.lower())
    for reference in ('id="', 'href="#', "url(#"):
        text = text.replace(reference, f"{reference}{prefix}-")
    return Markup(text.replace(_INK, "currentColor"))  # drawn here, and matplotlib escapes texts
