"""All faults of a dataset that a config names: what `prepare` refuses, and `doctor` tells.

What has not changed since it was found without fault is not opened again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eps import build_data
from eps.data.checks import checked_files, faults
from eps.data.coco import photos_alone
from eps.data.coco_checks import coco_faults
from eps.data.index import Index, files_signature
from eps.data.layout import DatasetFolder
from eps.engine.progress import progress_bar, remark, remark_faults
from eps.errors import UserError
from eps.saliency.maps import advice
from eps.schema import Config
from eps.schema.classifier import ClassifierKind
from eps.schema.saliency import SaliencyKind


@dataclass(frozen=True)
class CheckedDataset:
    """A dataset and what is wrong with it, which `index` holds, too."""

    folder: DatasetFolder
    faults: list[str]
    index: Index

    def tell(self) -> str:
        """Say the first of the faults, one a line; the line that sums them up."""
        return tell_faults(self.folder.root, self.index, self.faults)


def check_dataset(cfg: Config) -> CheckedDataset:
    """Open the photos of all configured splits, and the saliency maps of the first.

    Raises `UserError` where the dataset itself cannot be opened, or its annotations are faulty, then with all faults.
    """
    index = build_data.data_index(cfg.data)
    if wrong := _annotation_faults(cfg, index):
        found = list(dict.fromkeys(wrong + _photo_faults(cfg, index)))
        index.record_faults(found)
        raise UserError(tell_faults(Path(cfg.data.root), index, found))
    folder = build_data.dataset(cfg.data, keep_index=True, maps=cfg.saliency.kind is SaliencyKind.none)
    found = list(dict.fromkeys(_faults_of_splits(cfg, folder, index)))  # splits may share photos
    index.record_faults(found)
    return CheckedDataset(folder, found, index)


def tell_faults(root: Path, index: Index, found: Sequence[str]) -> str:
    """Say the first of several faults, one a line; the line that sums them up, or has the only one."""
    if len(found) == 1:
        return f"{root}: 1 fault: {found[0]}"
    return f"{root}: {remark_faults(found)}; all of them are in {index.faults_path}"


def _annotation_faults(cfg: Config, index: Index) -> list[str]:
    """Check the json files of COCO's format, unless they are those that were found without fault before.

    Notes are said, and what there is.
    """
    files = build_data.coco_files(cfg.data)
    signature = files_signature(files)
    if not files or index.checked("annotations") == signature:
        return []
    checked = [coco_faults(path) for path in files]
    for note in (note for one in checked for note in one.notes):
        remark(note)
    found = [fault for one in checked for fault in one.faults]
    if not found:
        for one in checked:
            remark(one.summary)
        index.record_check("annotations", signature=signature)
    return found


def _photo_faults(cfg: Config, index: Index) -> list[str]:
    """Of a dataset whose annotations are faulty: what is wrong with its photos, as far as the json files name them."""
    folder = DatasetFolder.of(build_data.data_form(cfg.data), photos_alone(build_data.coco_splits(cfg.data)))
    return _faults_of_splits(replace(cfg, data=replace(cfg.data, check_truth=False)), folder, index)


def _faults_of_splits(cfg: Config, folder: DatasetFolder, index: Index) -> list[str]:
    splits = [cfg.data.train, *(split for split in (cfg.data.val, *cfg.data.also) if folder.has_split(split))]
    return [fault for split in dict.fromkeys(splits) for fault in _split_faults(cfg, folder, index, split)]


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
    missing = folder.without_saliency(ids) if needs_maps else []
    found = [*unusable.values(), *([advice(folder, missing, of=len(ids))] if missing else [])]
    return found + _file_faults(cfg, folder, index, split, ids, with_saliency=with_saliency)


def _file_faults(
    cfg: Config, folder: DatasetFolder, index: Index, split: str, ids: Sequence[str], *, with_saliency: bool
) -> list[str]:
    """Open all files of these photos, unless they are the very files that were found without fault before."""
    truth = build_data.truth(cfg.data) if cfg.data.check_truth else None
    stated = json.dumps([folder.sizes.get(photo) for photo in ids])
    files = files_signature(checked_files(folder, ids, with_saliency=with_saliency), stated)
    what = f"{split}, saliency maps: {with_saliency}"
    if truth is None and index.checked(what) == files:
        remark(f"{split}: {len(ids)} photos, checked before and unchanged")
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
        remark(f"{split}: {sum(truth.covers([photo]) for photo in ids)} of {len(ids)} photos have a true mask")
    return found
