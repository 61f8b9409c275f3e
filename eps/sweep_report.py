"""What a multirun leaves behind: one `result.json` a job, `sweep.json`, and a table of scores."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from eps.data.artifacts import read_json, write_json
from eps.errors import UserError
from eps.settings import besides, common_to


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """How one job of a multirun ended: a score (higher is better) and what it wrote, or an error."""

    job: int
    overrides: list[str]
    score: float | None
    path: str | None
    error: str | None

    def write(self, folder: Path) -> None:
        """Put it into the job's folder, whole or not at all."""
        write_json(folder / "result.json", asdict(self))


def finite(score: float) -> float | None:
    """A score that json can hold: None for a job that has none."""
    return score if math.isfinite(score) else None


def read_records(sweep: Path) -> list[JobRecord]:
    """The records of all jobs below a sweep's folder, by number. Raises `UserError` for a file that is no record."""
    return sorted(map(_read_record, sweep.glob("*/result.json")), key=lambda record: record.job)


def _read_record(path: Path) -> JobRecord:
    try:
        return JobRecord(**read_json(path))
    except TypeError as error:
        raise UserError(f"{path} is not the record of a sweep's job: remove it") from error


def best_of(records: Sequence[JobRecord]) -> JobRecord | None:
    """The job with the highest score, the first of equals; None where no job has one."""
    return max((r for r in records if r.score is not None), key=_score, default=None)


def report(sweep: Path, records: Sequence[JobRecord], console: Console) -> None:
    """Write `sweep.json` and print the table, the best job marked."""
    best = best_of(records)
    jobs = [asdict(record) for record in records]
    write_json(sweep / "sweep.json", {"best": None if best is None else best.job, "jobs": jobs})
    console.print(_table(records, best))
    console.print(f"jobs and sweep.json: {sweep}", soft_wrap=True)


def _table(records: Sequence[JobRecord], best: JobRecord | None) -> Table:
    common = common_to([record.overrides for record in records])
    table = Table("job", "overrides", "score", "", title=" ".join(common))
    for record in records:
        own = besides(record.overrides, common)
        shown = "" if record.score is None else f"{record.score:.4f}"
        note = f"failed: {record.error}" if record.error else "best" if record is best else ""
        style = "red" if record.error else "bold green" if record is best else None
        table.add_row(str(record.job), own, shown, note, style=style)
    return table


def _score(record: JobRecord) -> float:
    return -math.inf if record.score is None else record.score
