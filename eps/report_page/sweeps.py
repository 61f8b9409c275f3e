"""Sweeps of a run as tables: every job, and the mean over seeds of those that differ in nothing else."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from eps.report_page.tables import Cell, Table
from eps.settings import besides, common_to

SEED = "seed="


class Job(NamedTuple):
    """One job of a sweep: what was set, its score, and what truth says of what it made, mIoU in percent by name."""

    number: int
    overrides: Sequence[str]
    score: float | None
    miou: Mapping[str, float]


def sweep_tables(name: str, jobs: Sequence[Job]) -> list[Table]:
    """The jobs of one sweep; then, where several differ by their seed alone, mean and standard deviation of these."""
    measures = list(dict.fromkeys(measure for job in jobs for measure in job.miou))
    common = common_to([job.overrides for job in jobs])
    cells: list[list[Cell]] = [
        [f"{job.number}: {_told(job.overrides, common)}", job.score, *(job.miou.get(measure) for measure in measures)]
        for job in jobs
    ]
    title = f"Sweep {name}: {' '.join(common)}".rstrip(": ")
    tables = [Table(f"sweep_{name}", title, ["job", "score", *measures], cells, {"score": 4})]
    return [*tables, *_over_seeds(name, jobs, common, measures)]


def _over_seeds(name: str, jobs: Sequence[Job], common: Sequence[str], measures: Sequence[str]) -> list[Table]:
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(_told([o for o in job.overrides if not o.startswith(SEED)], common), []).append(job)
    if all(len(group) == 1 for group in groups.values()):
        return []
    columns = ["settings", "seeds", "score", *measures]
    cells: list[list[Cell]] = [
        [
            told,
            str(len(group)),
            _spread([job.score for job in group], digits=4),
            *(_spread([job.miou.get(measure) for job in group], digits=1) for measure in measures),
        ]
        for told, group in groups.items()
    ]
    title = f"Sweep {name} over its seeds: mean \N{PLUS-MINUS SIGN} standard deviation"
    return [Table(f"sweep_{name}_seeds", title, columns, cells)]


def _told(overrides: Sequence[str], common: Sequence[str]) -> str:
    return besides(overrides, common) or "as it is"


def _spread(values: Sequence[float | None], *, digits: int) -> Cell:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return f"{known[0]:.{digits}f}" if known else None
    return f"{statistics.mean(known):.{digits}f} \N{PLUS-MINUS SIGN} {statistics.stdev(known):.{digits}f}"
