"""The curves of a threshold sweep as a picture of their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from eps.data.atomic import replaced


class Sweep(NamedTuple):
    """Scores in percent at each background threshold."""

    thresholds: Sequence[float]
    miou: Sequence[float]
    """By truth: an oracle."""
    agreement: Sequence[float] | None
    """IoU of the foreground with saliency: free of truth. None without saliency maps."""
    taken: float | None
    """The threshold that stage 2 labelled with, if it had one."""


def draw(path: Path, sweep: Sweep) -> None:
    """Write the curves as a PNG; a dot marks the best of each, a dotted line the threshold that was taken."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    curves = {"mIoU by truth: an oracle": (sweep.miou, "#d9822b")}
    if sweep.agreement is not None:
        curves["agreement with saliency: no truth"] = (sweep.agreement, "#3f88c5")
    for label, (values, color) in curves.items():
        best = max(range(len(values)), key=values.__getitem__)
        axes.plot(sweep.thresholds, values, color=color, label=f"{label}; best at {sweep.thresholds[best]:g}")
        axes.plot([sweep.thresholds[best]], [values[best]], "o", color=color)
    if sweep.taken is not None:
        axes.axvline(sweep.taken, color="#2a9d8f", linestyle=":", label=f"taken by stage 2: {sweep.taken:g}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 100)
    axes.set_xlabel("background threshold")
    axes.set_ylabel("percent")
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", frameon=False, fontsize=9)
    with replaced(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
