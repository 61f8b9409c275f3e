"""Pseudo-masks of any number of photos: shard by shard, each done once, and never more in memory than a few photos."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from eps.data.artifacts import read_json, write_json
from eps.data.atomic import remove_leftovers
from eps.data.manifest import faults_of_files, file_facts, is_edited, sealed
from eps.data.provenance import provenance
from eps.data.shards import ShardPhoto, read_shard, writing_shard
from eps.engine import ranks
from eps.engine.agreement import LabelTally
from eps.engine.overlap import ahead
from eps.engine.progress import progress_bar, remark
from eps.errors import UserError, some

FOLDER: Final = "pseudo_masks_shards"
"""In a run."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

Label = Callable[[Image.Image, Bool[np.ndarray, " c"]], UInt8[Tensor, "H W"]]
"""From a photo and its tags to its mask."""


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """`<shard>.json`, the manifest of a finished shard, whose masks are in `<shard>.tar` beside it."""

    fingerprint: str
    made_by: dict[str, Any]
    config: dict[str, Any]
    inputs: dict[str, Any]
    """Hashes of what made the masks; under `shard` the name and size of the shard of photos."""
    files: dict[str, dict[str, Any]]
    """The masks' size and hash."""
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
    config: Mapping[str, Any] = _NOTHING,
    inputs: Mapping[str, str] = _NOTHING,
    told: Callable[[int], None] = lambda photos: None,
) -> Done:
    """Write `<shard>.tar` and `<shard>.json` into `folder` for every source that has none of the same fingerprint.

    Several processes take every so many-th shard each. Reading, labelling and writing overlap; what reads ahead waits
    where the others are slower. A photo that cannot be used is left out with `skip_faults`, else it fails its shard; a
    shard that fails leaves the others alone, and is tried again by the next run. `config` and `inputs` are for the
    records; `told` is called after each photo with the number so far. Raises `UserError` where what is written would
    replace a source or each other.
    """
    _demand_targets(sources, folder)
    own, seen, failed = ranks.own(sources), 0, []
    remove_leftovers(folder, {name for source in own for name in _targets(source)})
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
            try:
                made_of = fingerprint(source)
                record = finished(folder, source, made_of)
                if record is None:
                    origin = _origin(source, made_of, config, inputs)
                    photos = count(ahead(read_shard(source, classes)))
                    record = _label_shard(photos, folder / source.name, label, origin, skip_faults)
                records.append(record)
            except (UserError, OSError) as error:
                failed.append(str(error) if isinstance(error, UserError) else f"{source}: {error}")
                remark(f"{source.name} failed: {error}")
            advance(None)
    if seen:
        seconds = time.monotonic() - began
        remark(f"{seen} photos in {seconds:.1f} s: {1000 * seconds / seen:.2f} ms a photo in each process")
    return _together(records, failed)


def _targets(source: Path) -> tuple[str, str]:
    """What the masks and the record of a shard are called."""
    return source.name, f"{source.stem}.json"


def _demand_targets(sources: Sequence[Path], folder: Path) -> None:
    writers: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        for name in _targets(source):
            writers[name].append(str(source))
    for name, named in writers.items():
        if len(named) > 1:
            both = some(list(dict.fromkeys(named)), most=3)
            raise UserError(f"{folder / name} would be written more than once, for {both}: call every shard NAME.tar")
    place = os.path.realpath(folder)
    for source in sources:
        into, name = os.path.split(os.path.realpath(source))
        if into == place and name in writers:
            raise UserError(f"{source} would be replaced by masks, which go to {folder}: move the photos elsewhere")


def finished(folder: Path, source: Path, fingerprint: str) -> ShardRecord | None:
    """The record of a shard whose masks are there already, made from the same, and are what it says."""
    masks, path = (folder / name for name in _targets(source))
    record = read_record(path) if path.is_file() else None
    if record is None or record.fingerprint != fingerprint or set(record.files) != {masks.name}:
        return None
    return None if faults_of_files(folder, record.files) else record


def read_record(path: Path) -> ShardRecord | None:
    """What a record says; None where it is of another version, damaged or edited, and so to be made again."""
    try:
        content = read_json(path)
        record = ShardRecord(**{entry.name: content[entry.name] for entry in fields(ShardRecord)})
        typed = type(record.counts["photos"]) is int and type(record.score) is float
        listed = all("size" in facts for facts in record.files.values())
    except (TypeError, KeyError, AttributeError, UserError):
        return None
    return record if typed and listed and not is_edited(content) else None


class Looked(NamedTuple):
    """What about masks is not as their records say, one line each; names and hashes of what they were made from."""

    faults: list[str]
    inputs: set[tuple[str, str]]


def look_at_shards(folder: Path) -> Looked:
    """Compare the masks in a folder of shards with their records."""
    faults: list[str] = []
    inputs: set[tuple[str, str]] = set()
    for path in sorted(folder.glob("[!.]*.json")):
        record = read_record(path)
        if record is None:
            faults.append(f"{path} is damaged or has been edited")
            continue
        faults += faults_of_files(folder, record.files)
        inputs |= {(name, known) for name, known in record.inputs.items() if isinstance(known, str)}
    masks = [path for path in sorted(folder.glob("[!.]*")) if path.suffix != ".json"]
    faults += [f"{path} has no record" for path in masks if not path.with_suffix(".json").is_file()]
    return Looked(faults, inputs)


def _origin(source: Path, made_of: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """What a record says before anything is made."""
    shard = {"name": source.name, "size": source.stat().st_size if source.is_file() else 0}
    return {
        "fingerprint": made_of,
        "made_by": provenance(),
        "config": dict(config),
        "inputs": {**inputs, "shard": shard},
    }


def _label_shard(
    photos: Iterator[ShardPhoto], target: Path, label: Label, origin: dict[str, Any], skip_faults: bool
) -> ShardRecord:
    tally, skipped = LabelTally(), []
    record_path = target.with_suffix(".json")
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
        if skipped and not tally.photos:
            raise UserError(f"{target.name}: none of its {len(skipped)} photos can be used: {skipped[0]}")
        record_path.unlink(missing_ok=True)  # it tells of other masks than will lie there
    files = {target.name: file_facts(target)}
    record = ShardRecord(**origin, files=files, counts=tally.counts(), score=tally.score(), skipped=skipped)
    write_json(record_path, sealed(asdict(record)))  # last: it says that the tar is there
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
