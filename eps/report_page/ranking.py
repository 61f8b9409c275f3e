"""Which photos a gallery shows: the best, the middle and the worst ones, of all and of each class."""

import csv
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eps.data.artifacts import read_mask
from eps.data.datasets import read_saliency
from eps.data.layout import DatasetFolder
from eps.engine.agreement import disagreement
from eps.engine.progress import progress_bar
from eps.ops.pseudo_labels import IGNORE
from eps.report_page.parts import read_evaluation

RANKS = ("best", "median", "worst")
EACH = 4
"""Photos of each rank among all."""
MOST = 60
"""Photos that classes add to these: three of each where that is not more, else the middle one of each."""


class Measure(StrEnum):
    """What photos are ranked by, as the page calls it."""

    miou = "mIoU"
    """With the truth, in percent."""
    agreement = "IoU with saliency"
    """Of the foreground, in 0..1: free of truth."""


class Chosen(NamedTuple):
    """A photo of a gallery."""

    photo: str
    score: float | None
    """Its own, where it is known."""
    ranks: tuple[str, ...] = ()
    """Among all photos, or among those of one of its classes."""
    measure: Measure = Measure.miou


def photo_scores(artifact: Path | None, split: str) -> dict[str, float]:
    """The mean IoU of each photo that `evaluate` has scored of an artifact on a split; empty where it has not."""
    if artifact is None or not read_evaluation(artifact):
        return {}
    path = artifact.parent / "evaluation" / f"{artifact.name}_photos.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split and row["miou"]]
    return {row["photo"]: float(row["miou"]) for row in rows}


def photo_agreements(masks: Path, folder: DatasetFolder, photos: Sequence[str]) -> dict[str, float]:
    """The IoU of the foreground of each photo's pseudo-mask with its saliency map, in 0..1: free of truth.

    Photos without one of them are left out. Where neither has anything in it, photos with tags have 0, and those
    without are left out.
    """
    paths = {photo: masks / "masks" / f"{photo}.png" for photo in photos}
    known = [photo for photo, path in paths.items() if path.is_file() and folder.saliency_path(photo).is_file()]
    found = {}
    with progress_bar("report, masks against saliency", total=len(known)) as advance:
        for photo in known:
            labels = read_mask(paths[photo])
            saliency = read_saliency(folder, photo, size=(labels.shape[0], labels.shape[1])).numpy()
            apart = disagreement(labels, saliency)
            if apart or np.any((labels > 0) & (labels != IGNORE)):
                found[photo] = 1 - apart
            elif folder.labels[photo]:
                found[photo] = 0.0
            advance(None)
    return found


def choose(
    scores: Mapping[str, float],
    tags: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    *,
    measure: Measure = Measure.miou,
) -> list[Chosen]:
    """Photos by rank, best first. `scores` are those of photos that can be shown, `tags` what is in each."""
    order = sorted(scores, key=lambda photo: (-scores[photo], photo))
    ranks: dict[str, list[str]] = {}
    for rank, photos in _ranked(order, EACH).items():
        for photo in photos:
            ranks.setdefault(photo, []).append(rank)
    of_each = RANKS if len(RANKS) * len(classes) <= MOST else ("median",)
    for name in classes[:MOST]:
        ranked = _ranked([photo for photo in order if name in tags[photo]], 1)
        for rank in of_each:
            for photo in ranked[rank]:
                ranks.setdefault(photo, []).append(rank)
    shown = [photo for photo in order if photo in ranks]
    return [Chosen(photo, scores[photo], tuple(r for r in RANKS if r in ranks[photo]), measure) for photo in shown]


def _ranked(order: Sequence[str], count: int) -> dict[str, Sequence[str]]:
    """So many from the beginning, the middle and the end of an order, none of them twice."""
    count = max(min(count, len(order) // len(RANKS)), min(len(order), 1))
    middle = max(0, (len(order) - count) // 2)
    best = order[:count]
    worst = [photo for photo in order[len(order) - count :] if photo not in best]
    median = [photo for photo in order[middle : middle + count] if photo not in best and photo not in worst]
    return {"best": best, "median": median, "worst": worst}
