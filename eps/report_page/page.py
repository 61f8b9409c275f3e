"""The page itself: one file with everything inside it."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

from eps import __version__
from eps.engine.agreement import THRESHOLDS
from eps.engine.loop import SKIPPED
from eps.report_page.charts import COLORS, Chart, Curve, class_chart, loss_chart, threshold_chart
from eps.report_page.combination import Combination
from eps.report_page.galleries import MIN_SCORE, Card
from eps.report_page.parts import Parts, read_evaluation, read_manifest
from eps.report_page.rows import Row, Splits, own_segmenter, supervision_ratio

_LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "numpy", "scipy", "pillow", "pycocotools", "pydensecrf2")


class Fact(NamedTuple):
    """A number that the page opens with."""

    value: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page shows; what a run lacks is empty."""

    name: str
    root: str
    splits: Splits
    sizes: Mapping[str, int]
    """Photos in each split."""
    rows: Sequence[Row]
    charts: Sequence[Chart]
    training: Sequence[Card]
    validation: Sequence[Card]
    combination: Combination | None
    combination_photo: str
    seconds: Mapping[str, float]
    config: str


def render(page: Page) -> str:
    """The page as HTML that loads nothing from anywhere."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = shown
    template = environment.from_string(files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        page=page,
        facts=_facts(page.rows),
        colors=COLORS,
        classes=list(dict.fromkeys(name for row in page.rows for name in row.per_class)),
        oracle=any(row.name == "cam" and "best" in row.label for row in page.rows),
        deeplab=any(row.made for row in page.rows if row.name.startswith("deeplab")),
        supervised=any(row.made for row in page.rows if row.name.endswith("_truth")),
        versions=_versions(),
        min_score=MIN_SCORE,
    )


def shown(value: float | None, digits: int = 1) -> str:
    """A number as the tables show it; a dash for none."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


def charts_of(parts: Parts, rows: Sequence[Row]) -> list[Chart]:
    """Every chart that the run has numbers for."""
    scored = [row for row in rows if row.per_class]
    charts = [class_chart("IoU of each class", scored, note="Higher is better.")] if scored else []
    charts += _threshold_charts(parts)
    trained = {
        "Classifier, EPS": (parts.classifier, "Tags: what is in the photo. Saliency: where."),
        "Classifier, CAM": (parts.cam_classifier, "The baseline learns from tags alone."),
        "Segmenter, from tags": (parts.segmenter, "Against the pseudo-masks."),
        "DeepLab, from tags": (parts.deeplab, "The segmenter of EPS's paper: a semantic map alone."),
        "Segmenter, fully supervised": (parts.truth_segmenter, "The same network against true masks."),
        "DeepLab, fully supervised": (parts.truth_deeplab, "The same network against true masks."),
    }
    for title, (folder, note) in trained.items():
        if folder is not None and (history := _learnt(folder)):
            charts.append(loss_chart(title, history, note=f"Loss while training. {note}"))
    return charts


def _learnt(folder: Path) -> list[dict[str, float]]:
    """The terms of the steps that were not skipped."""
    return [terms for terms in read_manifest(folder)["history"] if SKIPPED not in terms]


def _threshold_charts(parts: Parts) -> list[Chart]:
    charts = []
    named = (("CAM", "cam", parts.cam_pseudo_masks), ("EPS", "eps", parts.pseudo_masks or parts.crf_pseudo_masks))
    manifests = [(label, COLORS[row], read_manifest(folder)) for label, row, folder in named if folder is not None]
    agreement = [
        Curve(label, color, THRESHOLDS, manifest["threshold_curve"], manifest["threshold"])
        for label, color, manifest in manifests
        if manifest["threshold_curve"] is not None
    ]
    if agreement:
        note = "How well the thresholded maps agree with the saliency maps: free of truth. The dot is what was used."
        charts.append(threshold_chart("Threshold without truth", agreement, quantity="IoU with saliency", note=note))
    best = read_evaluation(parts.cam_pseudo_masks).get("best_threshold")
    if best is not None:
        thresholds = [float(threshold) for threshold in best["curve"]]
        curve = Curve("CAM", COLORS["cam"], thresholds, list(best["curve"].values()), best["threshold"])
        note = "An oracle: the threshold that true masks like best. It flatters the baseline; nothing else uses it."
        charts.append(threshold_chart("Threshold by truth, CAM", [curve], quantity="mIoU in percent", note=note))
    return charts


def _facts(rows: Sequence[Row]) -> list[Fact]:
    """The few numbers that say how the run went."""
    by_name = {row.name: row for row in rows}
    segmenter, eps, cam = own_segmenter(rows), by_name["eps"], by_name["cam"]
    facts = []
    if (miou := segmenter.miou[segmenter.split]) is not None:
        name = "DeepLab" if segmenter.name == "deeplab" else "the segmenter"
        facts.append(Fact(f"{miou:.1f}", f"mIoU of {name} on {segmenter.split}, learnt from tags"))
    if (ratio := supervision_ratio(rows)) is not None:
        facts.append(Fact(f"{100 * ratio:.0f} %", "of what the same segmenter reaches with true masks"))
    if (miou := eps.miou[eps.split]) is not None:
        against = "" if (other := cam.miou[cam.split]) is None else f"; CAM {other:.1f}"
        facts.append(Fact(f"{miou:.1f}", f"mIoU of the pseudo-masks on {eps.split}{against}"))
    if eps.leakage is not None:
        against = "" if cam.leakage is None else f"; CAM {cam.leakage:.3f}"
        facts.append(Fact(f"{eps.leakage:.3f}", f"context leakage of the pseudo-masks{against}"))
    return facts


def _versions() -> dict[str, str]:
    versions = {"eps-seg": __version__, "Python": platform.python_version()}
    for library in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):  # built under another name
            versions[library] = importlib.metadata.version(library)
    return {**versions, "machine": f"{platform.system()} {platform.machine()}"}
