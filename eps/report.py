"""Gather a run's scores, times and pictures in one table and one page.

Reads whatever of `classifier/`, `pseudo_masks/`, `segmenter/` and `evaluation/` lies in the run, also below `cam/`,
`crf/` and `truth/`; writes `report/index.html` and `report/summary.json`, and prints the table.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from eps import build, build_data
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, write_json
from eps.data.atomic import replaced_folder
from eps.data.layout import DatasetFolder
from eps.engine.instances import Instances
from eps.engine.runtime import peak_memory_mb
from eps.errors import UserError
from eps.report_page.combination import Combination, combine
from eps.report_page.galleries import spread, training_cards, validation_cards
from eps.report_page.page import Page, charts_of, render, shown
from eps.report_page.parts import Parts, find_parts
from eps.report_page.rows import Row, Splits, gather_rows, own_segmenter, seconds_of, summary, supervision_ratio
from eps.schema import Config, Result


def run(cfg: Config) -> Result:
    """Write the report and print its table; the result's score is the segmenter's mIoU on the validation split.

    Where the run has none, it is DeepLab's.
    """
    began = time.monotonic()
    parts = find_parts(cfg.input)
    if not any(vars(parts).values()):
        raise UserError(f"{cfg.run_dir} has nothing to report on: run the stages first (make stage1)")
    splits = Splits(train=cfg.data.scored, val=cfg.data.val, also=tuple(cfg.data.also))
    rows = gather_rows(parts, splits)
    seconds = seconds_of(parts)
    folder = build_data.dataset(cfg.data)
    with replaced_folder(cfg.output("report")) as target:
        page = _page(cfg, folder, parts, splits, rows, seconds)
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
    cfg: Config, folder: DatasetFolder, parts: Parts, splits: Splits, rows: Sequence[Row], seconds: dict[str, float]
) -> Page:
    sizes = {split: len(folder.ids(split)) for split in splits.all if folder.has_split(split)}
    truth = build_data.truth(cfg.data)
    found: dict[str, Instances] = {}
    labels: dict[str, np.ndarray] = {}
    combination: Combination | None = None
    best = ""
    segmenter, deeplab = parts.segmenter or parts.truth_segmenter, parts.deeplab or parts.truth_deeplab
    photos = spread(folder, folder.ids(splits.val)) if splits.val in sizes and (segmenter or deeplab) else []
    if segmenter is not None and photos:
        predictor = build.predictor(cfg, segmenter)
        found = {photo: predictor.predict(folder.photo(photo)) for photo in photos}
        best = _surest(found)
        combination = combine(predictor, folder.photo(best))
    if deeplab is not None and photos:
        predictor = build.predictor(cfg, deeplab)
        labels = {photo: predictor.predict_all(folder.photo(photo))[1].cpu().numpy() for photo in photos}
    has_masks = parts.pseudo_masks or parts.crf_pseudo_masks or parts.cam_pseudo_masks
    training = spread(folder, folder.ids(splits.train)) if has_masks else []
    return Page(
        name=cfg.name,
        root=cfg.data.root,
        splits=splits,
        sizes=sizes,
        rows=rows,
        charts=charts_of(parts, rows),
        training=training_cards(parts, folder, truth, training),
        validation=validation_cards(folder, truth, photos, found, labels),
        combination=combination,
        combination_photo=best,
        seconds=seconds,
        config=yaml.safe_dump(as_plain(cfg), sort_keys=False),
    )


def _surest(found: dict[str, Instances]) -> str:
    """The photo with the highest score, the first one where nothing was found."""
    return max(found, key=lambda photo: float(found[photo].scores.max()) if len(found[photo].scores) else 0.0)


def _print(rows: Sequence[Row], splits: Splits, path: Path) -> None:
    """One row a method that the run has, and where the page is."""
    table = Table(title="IoU and AP in percent, leakage 0..1", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("method")
    for column in (*(f"mIoU\n{split}" for split in splits.all), "context\nleakage", "mask\nAP50", "seconds"):
        table.add_column(column, justify="right")
    for row in rows:
        if row.made:
            mious = (shown(row.miou[split]) for split in splits.all)
            table.add_row(row.label, *mious, shown(row.leakage, 3), shown(row.ap50), shown(row.seconds, 0))
    console = Console(highlight=False)
    console.print(table)
    if (ratio := supervision_ratio(rows)) is not None:
        own = own_segmenter(rows).label
        console.print(f"supervision ratio {ratio:.3f}: {own} / fully supervised {own}, mIoU on {splits.val}")
    console.print(f"report: {path}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
