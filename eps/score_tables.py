"""What `evaluate` prints and writes: scores as tables for a terminal, as JSON and as CSV."""

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from eps.data.artifacts import write_json
from eps.data.atomic import replaced
from eps.data.manifest import sealed


def print_scores(content: Mapping[str, Any]) -> None:
    """One column a split: the scores of all classes together, then IoU, precision and recall of each class."""
    columns: dict[str, Any] = dict(content["splits"])
    if "best_threshold" in content:
        columns[f"best threshold\nby truth: {content['best_threshold']['threshold']:g}"] = content["best_threshold"]
    console = Console(highlight=False)
    console.print(_overall(str(content["subject"]), columns))
    console.print(_per_class(columns))


def _overall(subject: str, columns: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(f"{subject}, percent")
    for name in columns:
        table.add_column(name, justify="right")
    shown = [_rows(scores) for scores in columns.values()]
    for name in shown[0]:
        table.add_row(name, *(rows.get(name, "-") for rows in shown))
    return table


def _rows(scores: Mapping[str, Any]) -> dict[str, str]:
    leakage, instances, boundary = (scores[key] or {} for key in ("leakage", "instances", "boundary"))
    at = f", within {boundary['tolerance']:g} px" if boundary else ""
    return {
        "mIoU": shown(scores["miou"], 1),
        "IoU weighted by frequency": shown(scores["fw_iou"], 1),
        "pixel accuracy": shown(scores["pixel_accuracy"], 1),
        "ignored": shown(scores["ignored"], 1),
        f"boundary precision{at}": shown(boundary.get("precision"), 1),
        f"boundary recall{at}": shown(boundary.get("recall"), 1),
        f"boundary F1{at}": shown(boundary.get("f1"), 1),
        "context leakage, 0..1": shown(leakage.get("mean"), 3),
        **{
            f"confusion ratio, {pair['coincident']} taken for {pair['target']}": shown(pair["confusion_ratio"], 3)
            for pair in scores["pairs"]
        },
        **({"mean AP of tags": shown(scores["tags"]["map"], 1)} if scores.get("tags") else {}),
        **_ap_rows("mask", instances),
        **_ap_rows("box", instances.get("boxes") or {}),
    }


def _ap_rows(what: str, scores: Mapping[str, Any]) -> dict[str, str]:
    """COCO's six figures, those of the three sizes in one row."""
    sizes = [shown(scores.get(f"ap_{size}"), 1) for size in ("small", "medium", "large")]
    return {
        f"{what} AP": shown(scores.get("ap"), 1),
        f"{what} AP50": shown(scores.get("ap50"), 1),
        f"{what} AP75": shown(scores.get("ap75"), 1),
        f"{what} AP small, medium, large": ", ".join(sizes) if scores else "-",
    }


def _per_class(columns: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class, percent")
    for name in columns:
        for score in ("IoU", "precision", "recall"):
            table.add_column(f"{name}\n{score}" if len(columns) > 1 else score, justify="right")
    names = next(iter(columns.values()))["per_class"]
    for name in names:
        values = [s[key][name] for s in columns.values() for key in ("per_class", "precision", "recall")]
        table.add_row(name, *(shown(value, 1) for value in values))
    return table


def write_scores(path: Path, content: Mapping[str, Any], mious: Mapping[str, Mapping[str, float]]) -> None:
    """Scores as JSON, sealed, and those of photos, if any, as a table beside it, which the JSON knows by its hash."""
    if not mious:
        write_json(path, sealed(content))
        return
    table, photos = photo_scores(mious).encode(), path.with_name(f"{path.stem}_photos.csv")
    write_json(path, sealed({**content, "files": {photos.name: hashlib.sha256(table).hexdigest()}}))
    with replaced(photos) as temporary:
        temporary.write_bytes(table)


def photo_scores(mious: Mapping[str, Mapping[str, float]]) -> str:
    """By split the mean IoU of each photo as CSV, the worst first: where to look."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["split", "photo", "miou"])
    for split, photos in mious.items():
        for photo, miou in sorted(photos.items(), key=lambda item: (item[1], item[0])):
            writer.writerow([split, photo, "" if math.isnan(miou) else round(miou, 2)])
    return lines.getvalue()


def numbers(scores: Mapping[str, Any], name: str) -> Iterator[tuple[str, float]]:
    """What is a number in scores, by the path to it: as a tracker takes them. Ratios of all pairs are left out."""
    for key, value in scores.items():
        if isinstance(value, dict) and key != "confusion_ratio":
            yield from numbers(value, f"{name}/{key}")
        elif isinstance(value, int | float):
            yield f"{name}/{key}", value


def shown(value: float | None, digits: int) -> str:
    """A number, or a dash where there is nothing to judge."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"
