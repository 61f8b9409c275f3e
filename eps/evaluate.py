"""Score pseudo-masks or a segmenter against true masks: mIoU, context leakage, confusion ratios, COCO mask AP.

Reads `pseudo_masks/` or `segmenter/` and the truth; writes `evaluation/<subject>.json` and prints a table.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from eps import build
from eps.cli import entrypoint
from eps.data.artifacts import read_scores, write_json
from eps.data.layout import DatasetFolder
from eps.data.manifest import recorded
from eps.data.mask_sources import PseudoMasks
from eps.data.samples import PhotoMasks
from eps.data.truth import Truth
from eps.engine.agreement import THRESHOLDS
from eps.engine.predictor import Predictor
from eps.engine.progress import progress_bar
from eps.errors import UserError
from eps.metrics.mask_ap import PhotoInstances
from eps.metrics.scorecard import Scorecard
from eps.ops.pseudo_labels import label_map
from eps.schema import Config, Result, Subject


class Prediction(NamedTuple):
    """What is to be judged in one photo."""

    photo: str
    labels: np.ndarray
    instances: PhotoInstances


def run(cfg: Config) -> Result:
    """Score the splits, write and print the scores; the result's score is the mIoU of the first split."""
    began = time.monotonic()
    folder = build.dataset(cfg.data)
    truth = Truth(folder.root)
    splits = {split: _score_split(cfg, folder, truth, split) for split in cfg.evaluate.splits}
    subject = cfg.evaluate.subject
    fingerprint = recorded(cfg.input(subject.value)).get("fingerprint")
    content: dict[str, Any] = {"subject": subject.value, "fingerprint": fingerprint, "splits": splits}
    if cfg.evaluate.best_threshold:
        content["best_threshold"] = _best_threshold(cfg, folder, truth)
    path = cfg.output("evaluation") / f"{subject}.json"
    content["seconds"] = round(time.monotonic() - began, 2)
    write_json(path, content)
    _print(content)
    return Result(score=splits[cfg.evaluate.splits[0]]["miou"], path=path)


main = entrypoint(run)


def run_where_truth_is(cfg: Config, subject: Subject, *splits: str) -> Result | None:
    """Score these splits of `subject`, those without true masks left out; nothing at all where none has any."""
    folder = build.dataset(cfg.data)
    truth = Truth(folder.root)
    known = [split for split in splits if folder.has_split(split) and truth.covers(folder.ids(split))]
    if not known:
        return None
    return run(replace(cfg, evaluate=replace(cfg.evaluate, subject=subject, splits=known)))


def _score_split(cfg: Config, folder: DatasetFolder, truth: Truth, split: str) -> dict[str, Any]:
    ids = folder.ids(split)
    card = Scorecard(classes=folder.classes)
    label = f"evaluate {cfg.evaluate.subject} on {split}"
    with progress_bar(label, total=len(ids)) as advance:
        for prediction in _predictions(cfg, folder, ids):
            true = truth(prediction.photo)
            if prediction.labels.shape != true.semantic.shape:
                raise UserError(
                    f"photo {prediction.photo!r}: prediction is {prediction.labels.shape}, truth {true.semantic.shape}"
                )
            try:
                card.add_labels(prediction.labels, true.semantic, truth.context(prediction.photo))
            except ValueError as error:
                raise UserError(f"photo {prediction.photo!r}: {error}") from error
            card.add_instances(prediction.instances, _as_instances(true))
            advance(None)
    return card.summary()


def _predictions(cfg: Config, folder: DatasetFolder, ids: Sequence[str]) -> Iterator[Prediction]:
    if cfg.evaluate.subject is Subject.pseudo_masks:
        source = PseudoMasks(cfg.input("pseudo_masks"))
        for photo in ids:
            masks = source(photo)
            yield Prediction(photo, masks.semantic, _as_instances(masks, scored=True))
    else:
        predictor = build.predictor(cfg, cfg.input("segmenter"))
        for photo in ids:
            yield _predict(predictor, folder, photo)


def _predict(predictor: Predictor, folder: DatasetFolder, photo: str) -> Prediction:
    instances, labels = predictor.predict_all(folder.photo(photo))
    count = len(instances.scores)
    found = PhotoInstances(
        masks=instances.masks.cpu().numpy(),
        classes=instances.classes.cpu().numpy(),
        scores=instances.scores.cpu().numpy(),
        crowd=np.zeros(count, dtype=bool),
    )
    return Prediction(photo, labels.cpu().numpy(), found)


def _as_instances(masks: PhotoMasks, *, scored: bool = False) -> PhotoInstances:
    scores = np.ones(len(masks.classes)) if scored else None
    return PhotoInstances(
        masks=masks.masks, classes=masks.classes, scores=scores, crowd=np.zeros(len(masks.classes), dtype=bool)
    )


def _best_threshold(cfg: Config, folder: DatasetFolder, truth: Truth) -> dict[str, Any]:
    """mIoU at every threshold over stored maps, and the best by truth: an oracle that flatters a baseline."""
    cards = {threshold: Scorecard(classes=folder.classes) for threshold in THRESHOLDS}
    scores_folder = cfg.input("pseudo_masks") / "scores"
    for photo in folder.ids(cfg.data.train):
        scores = torch.from_numpy(read_scores(scores_folder / f"{photo}.npz"))
        semantic, context = truth.semantic(photo), truth.context(photo)
        for threshold, card in cards.items():
            card.add_labels(label_map(scores, threshold=threshold).numpy(), semantic, context)
    best = max(cards, key=lambda threshold: cards[threshold].miou())
    curve = {str(threshold): card.miou() for threshold, card in cards.items()}
    return {"threshold": best, "curve": curve, **cards[best].summary()}


def _print(content: dict[str, Any]) -> None:
    """One column a split, one row a score and a class."""
    splits: dict[str, Any] = dict(content["splits"])
    if "best_threshold" in content:
        splits[f"best threshold {content['best_threshold']['threshold']}"] = content["best_threshold"]
    columns = [_column(scores) for scores in splits.values()]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(f"{content['subject']}, percent")
    for split in splits:
        table.add_column(split, justify="right")
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    Console(highlight=False).print(table)


def _column(scores: dict[str, Any]) -> dict[str, str]:
    """What the table says of one split."""
    leakage, instances = scores["leakage"] or {}, scores["instances"] or {}
    return {
        "mIoU": _shown(scores["miou"], 1),
        **{f"IoU {name}": _shown(iou, 1) for name, iou in scores["per_class"].items()},
        "ignored": _shown(scores["ignored"], 1),
        "context leakage, 0..1": _shown(leakage.get("mean"), 3),
        "mask AP": _shown(instances.get("ap"), 1),
        "mask AP50": _shown(instances.get("ap50"), 1),
    }


def _shown(value: float | None, digits: int) -> str:
    """A number, or a dash where there is nothing to judge."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
