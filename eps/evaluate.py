"""Score pseudo-masks, a segmenter, or any folder of masks against truth: IoU, boundaries, confusion, mask and box AP.

Reads `pseudo_masks/` or `segmenter/` and the truth, or two folders of PNGs (`predictions=DIR truth=DIR classes=voc`);
writes `evaluation/<subject>.json` and, photo by photo, `<subject>_photos.csv`, with `evaluate.thresholds` also a
picture of the curves, and prints tables.

    python -m eps.evaluate evaluate=segmenter  the run's segmenter
    python -m eps.evaluate evaluate=thresholds  its stored maps at every threshold
    python -m eps.evaluate predictions=DIR truth=DIR classes=voc  two folders of PNGs, of any project
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from eps import build, build_data, build_training
from eps.cli import entrypoint
from eps.data.artifacts import read_scores
from eps.data.class_names import class_names, unnamed
from eps.data.datasets import read_saliency
from eps.data.layout import DatasetFolder
from eps.data.manifest import recorded
from eps.data.mask_folder import MaskFolders
from eps.data.mask_sources import PseudoMasks
from eps.data.provenance import provenance
from eps.data.samples import PhotoMasks
from eps.data.sampling import sample
from eps.data.subset import label_table, scores_of
from eps.data.truth import Truth
from eps.engine.predictor import Predictor
from eps.engine.progress import progress_bar, remark
from eps.errors import UserError
from eps.metrics.mask_ap import PhotoInstances
from eps.metrics.miou import segmentation_scores
from eps.metrics.scorecard import Scorecard
from eps.metrics.threshold_curve import threshold_matrices
from eps.ops.pseudo_labels import label_map, threshold_agreement
from eps.report_page.threshold_curve import Sweep, draw
from eps.schema import Config, Result
from eps.schema.evaluate import Subject
from eps.score_tables import numbers, print_scores, write_scores


class _Judged(NamedTuple):
    """A split: its scores, and the mean IoU of each photo by itself."""

    summary: dict[str, Any]
    mious: dict[str, float]


class Prediction(NamedTuple):
    """What is to be judged in one photo."""

    photo: str
    labels: np.ndarray
    instances: PhotoInstances | None
    """None of a segmenter that finds none, which is not to find nothing."""
    tags: np.ndarray | None = None
    """What a tag head says of each class of the dataset."""


def run(cfg: Config) -> Result:
    """Score the splits, write and print the scores; the result's score is the mIoU of the first split."""
    began = time.monotonic()
    content, mious = (_foreign(cfg), {}) if cfg.predictions else _own(cfg)
    name = "model" if content.get("model") else content["subject"]  # not in the place of this run's own
    path = cfg.output("evaluation") / f"{name}.json"
    content["made_by"] = provenance()
    content["seconds"] = round(time.monotonic() - began, 2)
    write_scores(path, content, mious)
    _log(cfg, name, content)
    print_scores(content)
    return Result(score=next(iter(content["splits"].values()))["miou"], path=path)


main = entrypoint(run)


def _log(cfg: Config, name: str, content: dict[str, Any]) -> None:
    """All numbers of the splits to the tracker, if there is one, at the step that the training ended with."""
    if (log := build_training.tracker_log(cfg, f"evaluation/{name}", 0)) is None:
        return
    steps = {} if cfg.predictions or cfg.model else recorded(cfg.input(content["subject"]))
    values = {key: value for split, scores in content["splits"].items() for key, value in numbers(scores, split)}
    log.numbers(values, step=max(1, len(steps.get("history", []))))
    log.close()


def run_where_truth_is(cfg: Config, subject: Subject, *splits: str) -> Result | None:
    """Score these splits of `subject`, those without true masks left out; nothing at all where none has any."""
    folder = build_data.dataset(cfg.data)
    truth = build_data.truth(cfg.data)
    known = [split for split in splits if folder.has_split(split) and truth.covers(folder.ids(split))]
    if not known:
        return None
    own = replace(cfg, predictions="", model="", evaluate=replace(cfg.evaluate, subject=subject, splits=known))
    return run(own)


def _own(cfg: Config) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """Scores of what this run has made, or of another segmenter; by split the mean IoU of each photo."""
    folder = build_data.dataset(cfg.data)
    truth = build_data.truth(cfg.data)
    judged = {split: _score_split(cfg, folder, truth, split) for split in cfg.evaluate.splits}
    splits = {split: one.summary for split, one in judged.items()}
    subject = cfg.evaluate.subject
    content: dict[str, Any] = {"subject": subject.value, "splits": splits}
    if cfg.model and subject is Subject.segmenter:
        content["model"] = cfg.model
    else:
        content["fingerprint"] = recorded(cfg.input(subject.value)).get("fingerprint")
    if cfg.evaluate.thresholds and subject is Subject.pseudo_masks:
        content["best_threshold"] = _at_thresholds(cfg, folder, truth)
    content["skipped"] = {split: folder.skipped(split) for split in cfg.evaluate.splits}
    return content, {split: one.mious for split, one in judged.items()}


def _foreign(cfg: Config) -> dict[str, Any]:
    """Scores of masks that anyone may have made."""
    folders = MaskFolders.open(Path(cfg.predictions), Path(cfg.truth), ids=Path(cfg.ids) if cfg.ids else None)
    card = _scorecard(cfg, class_names(cfg.classes))
    with progress_bar("evaluate predictions", total=len(folders.ids)) as advance:
        for photo in folders.ids:
            predicted, true = folders(photo)
            _judge(card, photo, predicted, true, None)
            advance(None)
    if folders.unpredicted and not cfg.ids:
        remark(
            f"{folders.unpredicted} true masks have no prediction and are not scored; ids=FILE names what must be there"
        )
    facts = {"predictions": cfg.predictions, "truth": cfg.truth, "photos": len(folders.ids)}
    return {"subject": "predictions", "splits": {Path(cfg.ids).stem or "all": card.summary()}, **facts}


def _scorecard(cfg: Config, classes: Sequence[str]) -> Scorecard:
    node = cfg.evaluate
    pairs = [(target, coincident) for target, coincident in node.pairs]
    try:
        return Scorecard(classes=classes, boundary_tolerance=node.boundary_tolerance, pairs=pairs)
    except ValueError as error:
        raise UserError(f"evaluate.pairs: {error}") from error


def _judge(card: Scorecard, photo: str, labels: np.ndarray, truth: np.ndarray, context: np.ndarray | None) -> float:
    """Count a photo; its own mean IoU."""
    if labels.shape != truth.shape:
        raise UserError(f"photo {photo!r}: prediction is {labels.shape}, truth {truth.shape}")
    try:
        return card.add_labels(labels, truth, context)
    except ValueError as error:
        raise UserError(f"photo {photo!r}: {error}") from error


def _ids(cfg: Config, folder: DatasetFolder, split: str) -> list[str]:
    """The photos of a split that are to be scored."""
    node = cfg.evaluate
    return sample(folder.ids(split), most=node.photos, seed=cfg.seed if node.shuffle else None)


def _score_split(cfg: Config, folder: DatasetFolder, truth: Truth, split: str) -> _Judged:
    ids = _ids(cfg, folder, split)
    card, mious = _scorecard(cfg, folder.classes), dict[str, float]()
    label = f"evaluate {cfg.evaluate.subject} on {split}"
    with progress_bar(label, total=len(ids)) as advance:
        for prediction in _predictions(cfg, folder, ids):
            photo, true = prediction.photo, truth(prediction.photo)
            mious[photo] = _judge(card, photo, prediction.labels, true.semantic, truth.context(photo))
            if prediction.instances is not None:
                card.add_instances(prediction.instances, _as_instances(true))
            if prediction.tags is not None:
                card.add_tags(prediction.tags, true.semantic)
            advance(None)
    return _Judged(card.summary(), mious)


def _predictions(cfg: Config, folder: DatasetFolder, ids: Sequence[str]) -> Iterator[Prediction]:
    if cfg.evaluate.subject is Subject.pseudo_masks:
        source = PseudoMasks(cfg.input("pseudo_masks"))
        for photo in ids:
            masks = source(photo)
            yield Prediction(photo, masks.semantic, _as_instances(masks, scored=True))
    else:
        predictor, table = _predictor(cfg, folder.classes)
        for photo in ids:
            yield _predict(predictor, table, folder, photo)


def _predictor(cfg: Config, classes: tuple[str, ...]) -> tuple[Predictor, UInt8[np.ndarray, "256"]]:
    """The segmenter to judge, and by its labels those of the dataset, which may have some of its classes alone."""
    place = build.trained(cfg, "segmenter")
    predictor = build.predictor(cfg, place)
    table = _label_table(predictor.classes, classes, place=place)
    some = len(classes) < len(predictor.classes)
    return build.predictor(cfg, place, wanted=classes) if some else predictor, table


def _label_table(known: tuple[str, ...], classes: tuple[str, ...], *, place: Path) -> UInt8[np.ndarray, "256"]:
    """Classes go by their names; by their order only where a released file names none."""
    if set(classes) <= set(known):
        return label_table(known, classes)
    if known == unnamed(len(classes)):
        remark(f"{place} does not name its {len(known)} classes: they are taken for the dataset's, in its order")
        return label_table(classes, classes)
    hint = "; name them in its order: classes=[a,b,...]" if known == unnamed(len(known)) else ""
    raise UserError(f"{place} knows the classes {list(known)}, the dataset has {list(classes)}{hint}")


def _predict(predictor: Predictor, table: UInt8[np.ndarray, "256"], folder: DatasetFolder, photo: str) -> Prediction:
    instances, semantic, tags = predictor.see(folder.photo(photo))
    labels = table[semantic.cpu().numpy()]
    if not predictor.has_instances:
        return Prediction(photo, labels, None)
    count = len(instances.scores)
    found = PhotoInstances(
        masks=instances.masks.cpu().numpy(),
        classes=table[instances.classes.cpu().numpy() + 1].astype(np.int64) - 1,
        scores=instances.mask_scores.cpu().numpy(),  # its AP is that of masks
        crowd=np.zeros(count, dtype=bool),
        boxes=instances.boxes.cpu().numpy().astype(np.float64),
        box_scores=instances.scores.cpu().numpy(),
    )
    own = None if tags is None else scores_of(tags.cpu().numpy(), table, classes=len(folder.classes))
    return Prediction(photo, labels, found, own)


def _as_instances(masks: PhotoMasks, *, scored: bool = False) -> PhotoInstances:
    """What is uncertain in the truth is a crowd; of a prediction it counts like all else."""
    scores = np.ones(len(masks.classes)) if scored else None
    crowd = np.zeros(len(masks.classes), dtype=bool) if scored else masks.uncertain
    return PhotoInstances(
        masks=masks.masks, classes=masks.classes, scores=scores, crowd=crowd, boxes=masks.boxes, areas=masks.areas
    )


def _at_thresholds(cfg: Config, folder: DatasetFolder, truth: Truth) -> dict[str, Any]:
    """Curves over background thresholds, and all scores at the threshold that is best by truth.

    What truth chooses is an oracle: it flatters a baseline, and no training or labelling step sees it.
    """
    sweep = _sweep(cfg, folder, truth)
    draw(cfg.output("evaluation") / "pseudo_masks_thresholds.png", sweep)
    best = sweep.thresholds[int(np.argmax(sweep.miou))]
    card, scores = _scorecard(cfg, folder.classes), _stored_scores(cfg, classes=len(folder.classes))
    for photo in _ids(cfg, folder, cfg.data.scored):
        true = truth.semantic(photo)
        labels = label_map(scores(photo, true), threshold=best).numpy()
        _judge(card, photo, labels, true, truth.context(photo))
    names = [str(threshold) for threshold in sweep.thresholds]
    return {
        "threshold": best,
        "note": "curve and threshold are by truth, an oracle; agreement (with saliency, percent) is free of truth",
        "curve": dict(zip(names, sweep.miou, strict=True)),
        "agreement": None if sweep.agreement is None else dict(zip(names, sweep.agreement, strict=True)),
        **card.summary(),
    }


def _sweep(cfg: Config, folder: DatasetFolder, truth: Truth) -> Sweep:
    """One pass over the stored maps: mIoU, and agreement with saliency where every photo has a map of it."""
    thresholds = [round(threshold, 6) for threshold in cfg.evaluate.thresholds]
    ids, count = _ids(cfg, folder, cfg.data.scored), len(folder.classes)
    scores = _stored_scores(cfg, classes=count)
    with_saliency = not folder.without_saliency(ids)
    matrices = np.zeros((len(thresholds), count + 1, count + 2), dtype=np.int64)
    shared = either = torch.zeros(len(thresholds), dtype=torch.long)
    with progress_bar("thresholds", total=len(ids)) as advance:
        for photo in ids:
            true = truth.semantic(photo)
            maps = scores(photo, true)
            matrices += threshold_matrices(maps, true, thresholds=thresholds)
            if with_saliency:
                saliency = read_saliency(folder, photo, size=(maps.shape[1], maps.shape[2]))
                intersection, union = threshold_agreement(maps, saliency, torch.tensor(thresholds))
                shared, either = shared + intersection, either + union
            advance(None)
    return Sweep(
        thresholds=thresholds,
        miou=[100 * segmentation_scores(matrix).miou for matrix in matrices],
        agreement=(100 * shared / either.clamp(min=1)).tolist() if with_saliency else None,
        taken=recorded(cfg.input("pseudo_masks")).get("threshold"),
    )


def _stored_scores(cfg: Config, *, classes: int) -> Callable[[str, UInt8[np.ndarray, "H W"]], torch.Tensor]:
    """The stored maps of a photo, given its true mask, of whose size they are."""
    folder = cfg.input("pseudo_masks") / "scores"
    return lambda photo, true: torch.from_numpy(read_scores(folder / f"{photo}.npz", classes=classes, size=true.shape))


if __name__ == "__main__":
    main()
