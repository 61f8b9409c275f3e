"""Gather a run's scores, times and pictures in one table and one page.

Reads whatever of `classifier/`, `pseudo_masks/`, `segmenter/` and `evaluation/` lies in the run, also below `cam/`,
`crf/` and `truth/`; writes `report/index.html` and `report/summary.json`, and prints the table.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from rich import box
from rich.console import Console
from rich.table import Table as Printed

from eps import build, build_data
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, write_json
from eps.data.atomic import replaced_folder
from eps.data.layout import DatasetFolder
from eps.engine.checkpoint import load_classifier_for
from eps.engine.inference import localize
from eps.engine.instances import Instances
from eps.engine.predictor import Predictor
from eps.engine.runtime import peak_memory_mb
from eps.errors import UserError
from eps.report_page.combination import Combination, combine
from eps.report_page.galleries import Found, Maps, spread, stored_maps, training_cards, validation_cards
from eps.report_page.matrices import cooccurrence_chart
from eps.report_page.page import Page, charts_of, render
from eps.report_page.parts import Parts, find_parts, read_evaluation
from eps.report_page.ranking import Chosen, Measure, choose, photo_agreements, photo_scores
from eps.report_page.rows import Row, Splits, gather_rows, own_segmenter, seconds_of, summary, supervision_ratio
from eps.report_page.sweeps import Job, sweep_tables
from eps.report_page.tables import AGREEMENT, Table, score_table
from eps.schema import Config, Result
from eps.sweep_report import JobRecord, read_records


def run(cfg: Config) -> Result:
    """Write the report and print its table; the result's score is the segmenter's mIoU on the validation split.

    Where the run has none, it is DeepLab's.
    """
    began = time.monotonic()
    parts = find_parts(cfg.input)
    sweeps = _sweeps(cfg)
    if not any(vars(parts).values()) and not sweeps:
        raise UserError(f"{cfg.run_dir} has nothing to report on: run the stages first (eps stage1)")
    splits = Splits(train=cfg.data.scored, val=cfg.data.val, also=tuple(cfg.data.also))
    rows = gather_rows(parts, splits)
    seconds = seconds_of(parts)
    folder = build_data.dataset(cfg.data)
    with replaced_folder(cfg.output("report")) as target:
        page = _page(cfg, folder, parts, splits, rows, sweeps, seconds)
        (target / "index.html").write_text(render(page), encoding="utf-8")
        seconds = {**seconds, "report": round(time.monotonic() - began, 2)}
        write_json(target / "summary.json", summary(rows, seconds=seconds, peak_rss_mb=peak_memory_mb()))
    path = cfg.output("report") / "index.html"
    _print(rows, splits, path)
    scored = own_segmenter(rows)
    miou = scored.miou[scored.split]
    return Result(score=math.nan if miou is None else miou, path=path)


main = entrypoint(run)


def _page(
    cfg: Config,
    folder: DatasetFolder,
    parts: Parts,
    splits: Splits,
    rows: Sequence[Row],
    sweeps: Sequence[Table],
    seconds: dict[str, float],
) -> Page:
    maps = _maps(parts, folder)  # first: it refuses other classes than those learnt
    sizes = {split: len(folder.ids(split)) for split in splits.all if folder.has_split(split)}
    truth = build_data.truth(cfg.data)
    segmenter, deeplab = parts.segmenter or parts.truth_segmenter, parts.deeplab or parts.truth_deeplab
    predictors = [None if place is None else build.predictor(cfg, place) for place in (segmenter, deeplab)]
    masks = parts.pseudo_masks or parts.crf_pseudo_masks or parts.cam_pseudo_masks
    training = _chosen(folder, masks, splits.train, labelled=True) if masks is not None else []
    validation = _chosen(folder, segmenter or deeplab, splits.val) if segmenter or deeplab else []
    from_tags = [predictors[0] if parts.segmenter else None, predictors[1] if parts.deeplab else None]
    found = _found(folder, validation, *predictors)
    best = _surest(found.instances) if found.instances else ""
    tags = {photo: folder.labels[photo] for photo in folder.ids(splits.train)} if splits.train in sizes else {}
    together = [cooccurrence_chart(tags, folder.classes, split=splits.train)] if any(tags.values()) else []
    return Page(
        name=cfg.name,
        root=cfg.data.root,
        splits=splits,
        sizes=sizes,
        rows=rows,
        sweeps=sweeps,
        charts=[*together, *charts_of(parts, rows, folder.classes)],
        training=training_cards(parts, folder, truth, training, maps=maps, found=_found(folder, training, *from_tags)),
        validation=validation_cards(folder, truth, validation, found),
        combination=_combination(predictors[0], folder, best),
        combination_photo=best,
        seconds=seconds,
        config=yaml.safe_dump(as_plain(cfg), sort_keys=False),
    )


def _chosen(folder: DatasetFolder, artifact: Path | None, split: str, *, labelled: bool = False) -> list[Chosen]:
    """Photos of a split by rank, where they have scores; else some of all classes.

    What truth has not scored is ranked by agreement with saliency maps, where its labels are stored.
    """
    if not folder.has_split(split):
        return []
    ids = folder.ids(split)
    known = set(ids)
    scores = {photo: score for photo, score in photo_scores(artifact, split).items() if photo in known}
    measure = Measure.miou
    if not scores and labelled and artifact is not None:
        scores, measure = photo_agreements(artifact, folder, ids), Measure.agreement
    if not scores:
        return [Chosen(photo, None) for photo in spread(folder, ids)]
    return choose(scores, folder.labels, folder.classes, measure=measure)


def _found(
    folder: DatasetFolder, chosen: Sequence[Chosen], segmenter: Predictor | None, deeplab: Predictor | None
) -> Found:
    instances: dict[str, Instances] = {}
    semantic: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    for photo in (one.photo for one in chosen):
        image = folder.photo(photo)
        if segmenter is not None and segmenter.has_semantic:
            instances[photo], found = segmenter.predict_all(image)
            semantic[photo] = found.cpu().numpy()
        elif segmenter is not None:
            instances[photo] = segmenter.predict(image)
        if deeplab is not None:
            labels[photo] = deeplab.predict_all(image)[1].cpu().numpy()
    return Found(instances, semantic, labels)


def _maps(parts: Parts, folder: DatasetFolder) -> Maps:
    """The maps that stage 2 has kept, or else those of one scale that the classifier gives now.

    Raises `UserError` where pseudo-masks and maps, which know classes by number, would be given other names.
    """
    path = None if parts.classifier is None else parts.classifier / "model.safetensors"
    model = load_classifier_for(path, folder.classes) if path is not None and path.is_file() else None
    kept = parts.pseudo_masks or parts.crf_pseudo_masks

    def maps(photo: str) -> np.ndarray | None:
        stored = stored_maps(kept, photo)
        if stored is not None or model is None:
            return stored
        tags = torch.from_numpy(folder.tags(photo))
        return localize(model, folder.photo(photo), tags, scales=[1.0], flip=False).numpy()

    return maps


def _combination(segmenter: Predictor | None, folder: DatasetFolder, photo: str) -> Combination | None:
    return combine(segmenter, folder.photo(photo)) if segmenter is not None and photo else None


def _sweeps(cfg: Config) -> list[Table]:
    """The sweeps of a run; a job of one has none of its own."""
    if cfg.out_dir != cfg.run_dir:
        return []
    found = []
    for place in sorted(Path(cfg.run_dir, "sweeps").glob("*")):
        if records := read_records(place):
            found += sweep_tables(place.name, [_job(place, record) for record in records])
    return found


def _job(sweep: Path, record: JobRecord) -> Job:
    """A job with what truth says of what lies in its folder."""
    miou: dict[str, float] = {}
    for artifact in ("pseudo_masks", "segmenter"):
        splits = read_evaluation(sweep / str(record.job) / artifact).get("splits", {})
        miou |= {f"{artifact.replace('_', '-')}, {split}": scores["miou"] for split, scores in splits.items()}
    return Job(record.job, record.overrides, record.score, miou)


def _surest(found: Mapping[str, Instances]) -> str:
    """The photo with the highest score, the first one where nothing was found."""
    return max(found, key=lambda photo: float(found[photo].scores.max()) if len(found[photo].scores) else 0.0)


def _print(rows: Sequence[Row], splits: Splits, path: Path) -> None:
    """One row a method that the run has, and where the page is."""
    scores = score_table(rows, splits)
    by_truth = any(column.startswith("mIoU") for column in scores.columns)
    title = "IoU and AP in percent, leakage and agreement 0..1" if by_truth else "agreement 0..1"
    table = Printed(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for number, column in enumerate(scores.columns):
        header = "agree-\nment" if column == AGREEMENT and by_truth else column.replace(" ", "\n", 1)
        table.add_column(header, justify="right" if number else "left")
    for cells in scores.shown():
        table.add_row(*cells)
    console = Console(highlight=False)
    console.print(table)
    if (ratio := supervision_ratio(rows)) is not None:
        own = own_segmenter(rows).label
        console.print(f"supervision ratio {ratio:.3f}: {own} / fully supervised {own}, mIoU on {splits.val}")
    console.print(f"report: {path}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
