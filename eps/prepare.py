"""Check a dataset once, before anything is trained on it; the embedded benchmark is generated here.

Reads the dataset, in whatever form it comes; writes what it has found out to `data.index`: an index that other verbs
read faster than the sources, and all faults, if there are any. What has not changed since is not checked again.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from eps import build
from eps.cli import entrypoint
from eps.data import voc
from eps.data.checks import checked_files, faults
from eps.data.coco_checks import coco_faults
from eps.data.index import Index, files_signature
from eps.data.layout import DatasetFolder
from eps.engine.progress import console, progress_bar
from eps.errors import UserError
from eps.saliency.maps import advice, without_map
from eps.schema import ClassifierKind, Config, Result, SaliencyKind

SHOWN = 20
"""Faults that are told at once; the file has all."""


def run(cfg: Config) -> Result:
    """Open the photos of all configured splits, and the saliency maps of the first. Raises `UserError`: all faults."""
    if cfg.data.download:
        voc.download(Path(cfg.data.root))
    index = build.data_index(cfg.data)
    _check_annotations(cfg, index)
    folder = build.dataset(cfg.data, keep_index=True)
    splits = [cfg.data.train, *(split for split in (cfg.data.val, *cfg.data.also) if folder.has_split(split))]
    found: list[str] = []
    for split in dict.fromkeys(splits):
        found += _split_faults(cfg, folder, index, split)
    found = list(dict.fromkeys(found))  # splits may share photos
    index.record_faults(found)
    if found:
        raise UserError(_told(folder.root, index, found))
    for note in folder.notes:
        _say(note)
    return Result(score=1.0, path=folder.root)


main = entrypoint(run)


def _check_annotations(cfg: Config, index: Index) -> None:
    """Check the json files of COCO's format, unless they are those that were found without fault before.

    Notes are said. Raises `UserError` with all faults: the dataset cannot be opened before they are mended.
    """
    files = build.coco_files(cfg.data)
    signature = files_signature(files)
    if not files or index.checked("annotations") == signature:
        return
    checked = [coco_faults(path) for path in files]
    for note in (note for one in checked for note in one.notes):
        _say(note)
    if told := [fault for one in checked for fault in one.faults]:
        index.record_faults(told)
        raise UserError(_told(Path(cfg.data.root), index, told))
    index.record_check("annotations", signature=signature)


def _split_faults(cfg: Config, folder: DatasetFolder, index: Index, split: str) -> list[str]:
    """Faults of a split. Photos without a saliency map are one of them together: there may be thousands."""
    try:
        listed = folder.listed(split)
    except UserError as error:
        return [str(error)]
    unusable = folder.faults_of(listed, split)
    ids = [photo for photo in dict.fromkeys(listed) if photo not in unusable or folder.has_photo(photo)]
    remade = cfg.saliency.overwrite and split in cfg.saliency.splits  # whatever is wrong with those that are there
    with_saliency = split == cfg.data.train and cfg.classifier.kind is ClassifierKind.eps and not remade
    needs_maps = with_saliency and cfg.saliency.kind is SaliencyKind.none  # else missing ones are about to be made
    missing = without_map(folder, ids) if needs_maps else []
    found = [*unusable.values(), *([advice(folder, missing, of=len(ids))] if missing else [])]
    return found + _file_faults(cfg, folder, index, split, ids, with_saliency=with_saliency)


def _file_faults(
    cfg: Config, folder: DatasetFolder, index: Index, split: str, ids: Sequence[str], *, with_saliency: bool
) -> list[str]:
    """Open all files of these photos, unless they are the very files that were found without fault before."""
    truth = build.truth(cfg.data) if cfg.data.check_truth else None
    stated = json.dumps([folder.sizes.get(photo) for photo in ids])
    files = files_signature(checked_files(folder, ids, with_saliency=with_saliency), stated)
    what = f"{split}, saliency maps: {with_saliency}"
    if truth is None and index.checked(what) == files:
        _say(f"{split}: {len(ids)} photos, checked before and unchanged")
        return []
    found: list[str] = []
    threads = max(1, cfg.runtime.workers)
    with progress_bar(f"check {split}", total=len(ids)) as advance:
        for photo in faults(folder, ids, with_saliency=with_saliency, truth=truth, threads=threads):
            found += photo
            advance(None)
    if not found:
        index.record_check(what, signature=files)
    if truth is not None:
        _say(f"{split}: {sum(truth.covers([photo]) for photo in ids)} of {len(ids)} photos have a true mask")
    return found


def _told(root: Path, index: Index, found: Sequence[str]) -> str:
    rest = f"; and {len(found) - SHOWN} more, all of them in {index.faults_path}" if len(found) > SHOWN else ""
    return f"{root}: {len(found)} fault{'s' * (len(found) > 1)}: {'; '.join(found[:SHOWN])}{rest}"


def _say(text: str) -> None:
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
