"""Pseudo-masks of any number of photos: shard by shard, each done once, and never more in memory than a few photos."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from eps.data.artifacts import read_json, write_json
from eps.data.shards import ShardPhoto, read_shard, writing_shard
from eps.engine import ranks
from eps.engine.agreement import LabelTally
from eps.engine.overlap import ahead
from eps.engine.progress import progress_bar, remark
from eps.errors import UserError

Label = Callable[[Image.Image, Bool[np.ndarray, " c"]], UInt8[Tensor, "H W"]]
"""From a photo and its tags to its mask."""


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What `<shard>.json` says of a finished shard, beside its masks in `<shard>.tar`."""

    fingerprint: str
    counts: dict[str, int]
    score: float
    """Agreement of the masks with the tags."""
    skipped: list[str] = field(default_factory=list)
    """Photos that could not be used, and why."""


class Done(NamedTuple):
    """How many shards and photos there are masks of now, on average how well they agree with the tags, what failed."""

    shards: int
    photos: int
    score: float
    failed: list[str]


def label_shards(
    sources: Sequence[Path],
    folder: Path,
    label: Label,
    *,
    classes: tuple[str, ...],
    fingerprint: Callable[[Path], str],
    skip_faults: bool,
    told: Callable[[int], None] = lambda photos: None,
) -> Done:
    """Write `<shard>.tar` and `<shard>.json` into `folder` for every source that has none of the same fingerprint.

    Several processes take every so many-th shard each. Reading, labelling and writing overlap; what reads ahead waits
    where the others are slower. A photo that cannot be used is left out with `skip_faults`, else it fails its shard; a
    shard that fails leaves the others alone, and is tried again by the next run. `told` is called after each photo with
    the number so far.
    """
    own, seen, failed = ranks.own(sources), 0, []
    records: list[ShardRecord] = []

    def count(photos: Iterator[ShardPhoto]) -> Iterator[ShardPhoto]:
        nonlocal seen
        for photo in photos:
            yield photo
            seen += 1
            told(seen)

    began = time.monotonic()
    with progress_bar("shards", total=len(own)) as advance:
        for source in own:
            made_of = fingerprint(source)
            record = finished(folder, source, made_of)
            try:
                if record is None:
                    photos = count(ahead(read_shard(source, classes)))
                    record = _label_shard(photos, folder / source.name, label, made_of, skip_faults)
                records.append(record)
            except UserError as error:
                failed.append(str(error))
                remark(f"{source.name} failed: {error}")
            advance(None)
    if seen:
        seconds = time.monotonic() - began
        remark(f"{seen} photos in {seconds:.1f} s: {1000 * seconds / seen:.2f} ms a photo in each process")
    return _together(records, failed)


def finished(folder: Path, source: Path, fingerprint: str) -> ShardRecord | None:
    """The record of a shard whose masks are there already, made from the same."""
    path = folder / f"{source.stem}.json"
    if not path.is_file() or not (folder / source.name).is_file():
        return None
    try:
        record = ShardRecord(**read_json(path))
    except (TypeError, UserError):  # of another version, or damaged: it is made again
        return None
    return record if record.fingerprint == fingerprint else None


def _label_shard(
    photos: Iterator[ShardPhoto], target: Path, label: Label, fingerprint: str, skip_faults: bool
) -> ShardRecord:
    tally, skipped = LabelTally(), []
    with writing_shard(target) as writer:
        for photo in photos:
            if photo.image is None:
                if not skip_faults:
                    raise UserError(f"{photo.fault}; data.on_error=skip leaves it out")
                skipped.append(photo.fault)
                continue
            labels = label(photo.image, photo.tags)
            tally.add(labels, None, torch.from_numpy(photo.tags), instances=0, uncertain=0)
            writer.write(photo.key, labels.numpy())
    record = ShardRecord(fingerprint=fingerprint, counts=tally.counts(), score=tally.score(), skipped=skipped)
    write_json(target.with_suffix(".json"), asdict(record))  # last: it says that the tar is there
    return record


def _together(records: Sequence[ShardRecord], failed: Sequence[str]) -> Done:
    """Over all processes."""
    photos = [record.counts["photos"] for record in records]
    weighted = sum(record.score * count for record, count in zip(records, photos, strict=True))
    parts = ranks.gathered(Done(len(records), sum(photos), weighted, list(failed)))
    total = sum(part.photos for part in parts)
    return Done(
        shards=sum(part.shards for part in parts),
        photos=total,
        score=sum(part.score for part in parts) / max(1, total),
        failed=[line for part in parts for line in part.failed],
    )
