"""The page itself: one file with everything inside it."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined

from eps import __version__
from eps.data.provenance import provenance
from eps.engine.agreement import THRESHOLDS
from eps.engine.loop import SKIPPED
from eps.engine.watch import SCORE
from eps.report_page.charts import COLORS, Chart, Curve, class_chart, loss_chart, progress_chart, threshold_chart
from eps.report_page.combination import Combination
from eps.report_page.galleries import MIN_SCORE, Card
from eps.report_page.matrices import confusion_chart
from eps.report_page.meanings import columns_explained, rows_explained
from eps.report_page.parts import Parts, read_evaluation, read_manifest
from eps.report_page.ranking import RANKS, Measure
from eps.report_page.rows import Row, Splits, own_segmenter, supervision_ratio
from eps.report_page.tables import Table, more_tables, score_table, shown

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
    sweeps: Sequence[Table]
    """Of the run's sweeps, if it has any."""
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
    scores = score_table(page.rows, page.splits)
    return template.render(
        page=page,
        facts=_facts(page.rows),
        colors={row.label: COLORS[row.name] for row in page.rows},
        scores=scores,
        meanings=[rows_explained(page.rows), " ".join(columns_explained(scores, page.splits))],
        by_truth=_by_truth(page.rows),
        tags_alone=any(row.from_tags_alone for row in page.rows),
        measures=Measure,
        tables=[*more_tables(page.rows), *page.sweeps],
        filters={"pseudo-masks": filters(page.training), "segmenter": filters(page.validation)},
        oracle=any(row.name == "cam" and "best" in row.label for row in page.rows),
        deeplab=any(row.made for row in page.rows if row.name.startswith("deeplab")),
        supervised=any(row.made for row in page.rows if row.name.endswith("_truth")),
        versions=_versions(),
        min_score=MIN_SCORE,
    )


def _by_truth(rows: Sequence[Row]) -> bool:
    """Whether true masks have scored anything."""
    return any(value is not None for row in rows for value in row.miou.values())


class Filters(NamedTuple):
    """By what the cards of a gallery can be chosen, and which choices leave none."""

    classes: list[str]
    ranks: list[str]
    empty: list[tuple[int, str]]
    """Pairs of a class's number here and a rank."""


def filters(cards: Sequence[Card]) -> Filters:
    """The classes and ranks that cards have."""
    classes = sorted({name for card in cards for name in card.classes})
    ranks = [rank for rank in RANKS if any(rank in card.ranks for card in cards)]
    there = {(name, rank) for card in cards for name in card.classes for rank in card.ranks}
    empty = [(number, rank) for number, name in enumerate(classes) for rank in ranks if (name, rank) not in there]
    return Filters(classes, ranks, empty)


def charts_of(parts: Parts, rows: Sequence[Row], classes: Sequence[str] = ()) -> list[Chart]:
    """Every chart that the run has numbers for; `classes` are the dataset's, in their order."""
    scored = [row for row in rows if row.per_class]
    charts = [class_chart("IoU of each class", scored, note="Higher is better.")] if scored else []
    charts += [*_threshold_charts(parts), *_confusion_charts(parts, rows, classes), *_progress_charts(parts)]
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


def _progress_charts(parts: Parts) -> list[Chart]:
    """How the score free of truth went while networks learnt."""
    folders = {
        "classifier, EPS": parts.classifier,
        "classifier, CAM": parts.cam_classifier,
        "segmenter": parts.segmenter,
        "DeepLab": parts.deeplab,
    }
    looks = {name: read_manifest(folder).get("looks") for name, folder in folders.items() if folder is not None}
    curves = {name: [(look["step"], look[SCORE]) for look in taken] for name, taken in looks.items() if taken}
    if not curves:
        return []
    note = (
        "The score that each network's training is judged by, on 16 photos: maps against saliency for classifiers, "
        "labels against saliency and tags for segmenters. No truth is in it."
    )
    return [progress_chart("Agreement while training", curves, quantity="agreement", note=note)]


def _confusion_charts(parts: Parts, rows: Sequence[Row], classes: Sequence[str]) -> list[Chart]:
    """Of the pseudo-masks and of the segmenter."""
    masks = ("eps", parts.pseudo_masks) if parts.pseudo_masks else ("eps_crf", parts.crf_pseudo_masks)
    own = own_segmenter(rows).name
    folders = dict([masks, (own, parts.deeplab if own == "deeplab" else parts.segmenter)])
    charts = []
    for row in rows:
        scores = read_evaluation(folders.get(row.name)).get("splits", {}).get(row.split, {})
        matrix = np.array(scores.get("confusion_matrix", []))
        if len(matrix) == len(classes) + 1:
            charts.append(confusion_chart(row.label, row.name, matrix, ["background", *classes], split=row.split))
    return charts


def _learnt(folder: Path) -> list[dict[str, float]]:
    """The terms of the steps that were not skipped."""
    return [terms for terms in read_manifest(folder)["history"] if SKIPPED not in terms]


def _threshold_charts(parts: Parts) -> list[Chart]:
    named = (("CAM", "cam", parts.cam_pseudo_masks), ("EPS", "eps", parts.pseudo_masks or parts.crf_pseudo_masks))
    manifests = [(label, COLORS[row], read_manifest(folder)) for label, row, folder in named if folder is not None]
    charts = []
    note = "How well the thresholded maps agree with the saliency maps: free of truth. The dot is what was used"
    for was_set, title, dot in (
        (False, "Threshold, chosen by agreement", "the best one."),
        (True, "Threshold, set", "a number in the settings."),
    ):
        curves = [
            Curve(label, color, THRESHOLDS, manifest["threshold_curve"], manifest["threshold"])
            for label, color, manifest in manifests
            if manifest["threshold_curve"] is not None and _threshold_was_set(manifest) == was_set
        ]
        if curves:
            charts.append(threshold_chart(title, curves, quantity="IoU with saliency", note=f"{note}: {dot}"))
    best = read_evaluation(parts.cam_pseudo_masks).get("best_threshold")
    if best is not None:
        thresholds = [float(threshold) for threshold in best["curve"]]
        curve = Curve("CAM", COLORS["cam"], thresholds, list(best["curve"].values()), best["threshold"])
        note = "An oracle: the threshold that true masks like best. It flatters the baseline; nothing else uses it."
        charts.append(threshold_chart("Threshold by truth, CAM", [curve], quantity="mIoU in percent", note=note))
    return charts


def _threshold_was_set(manifest: Mapping[str, Any]) -> bool:
    """Whether pseudo-masks were told their threshold, and did not choose it (`auto`)."""
    return not isinstance(manifest["config"]["threshold"], str)


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
    hardware = provenance()["hardware"]
    devices = ", ".join(hardware["devices"]) or "no GPU"
    machine = f"{hardware['system']}, {hardware['processor']}, {hardware['cores']} cores, {devices}"
    return {**versions, "commit": provenance()["commit"] or "not of a checkout", "machine": machine}
