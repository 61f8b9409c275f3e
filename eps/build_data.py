"""From the config node `data` to the dataset, and from `source` to photos: the only place where a config does."""

from collections.abc import Mapping
from pathlib import Path

from eps.data import railroad
from eps.data.artifacts import fingerprint_of
from eps.data.class_names import COCO as COCO_NAMES
from eps.data.class_names import COCO_CATEGORIES, MOST_CLASSES
from eps.data.coco import coco_form, json_files, own_coco_form, own_json_files
from eps.data.coco_truth import CocoTruth
from eps.data.folder import folder_form
from eps.data.index import Index
from eps.data.layout import DatasetFolder
from eps.data.listing import Form, Places
from eps.data.photos import photos_form
from eps.data.prediction_files import CocoIds
from eps.data.sampling import sample
from eps.data.sbd import sbd_form
from eps.data.sbd_truth import SbdTruth
from eps.data.skipping import Skipping
from eps.data.sources import Footage, Photos, open_source
from eps.data.subset import with_classes
from eps.data.truth import Truth, TruthFolder
from eps.data.truth_subset import TruthOfClasses
from eps.data.voc import voc_form
from eps.engine import ranks
from eps.engine.progress import remark
from eps.errors import UserError
from eps.schema import Config
from eps.schema.data import DataConfig, DataKind

COCO = (DataKind.coco, DataKind.coco14, DataKind.coco17)
SPLIT = "split:"


def dataset(cfg: DataConfig, *, keep_index: bool = False, maps: bool = True) -> DatasetFolder:
    """The dataset; the embedded benchmark is generated where it is missing.

    With `data.on_error=skip` its splits have no photos that cannot be used, nor, with `maps`, those whose saliency maps
    cannot. Raises `UserError` for more classes than a mask can tell apart.
    """
    if cfg.kind is DataKind.railroad:
        ranks.on_main(lambda: railroad.write(Path(cfg.root), sizes=cfg.sizes, size=cfg.size))
    form = data_form(cfg)
    index = data_index(cfg)
    listing = index.listing(form, keep=keep_index)
    if _is_subset(cfg):
        listing = with_classes(listing, cfg.classes, thinned=(cfg.train, cfg.scored))
    if (count := len(listing.classes)) > MOST_CLASSES:
        advice = "join some of them" if cfg.kind is DataKind.photos else "choose some of them, data.classes=[...]"
        raise UserError(f"{cfg.root} has {count} classes, a mask can tell {MOST_CLASSES} apart: {advice}")
    return DatasetFolder.of(form, listing, Skipping(index, maps=maps, tell=remark) if cfg.on_error == "skip" else None)


def data_form(cfg: DataConfig) -> Form:
    """How the dataset lies in its folder. Raises `UserError` where it is not there."""
    root = Path(cfg.root)
    places = Places(saliency=cfg.saliency, tags=cfg.tags, no_photos=(cfg.saliency, cfg.truth))
    match cfg.kind:
        case DataKind.voc12:
            return voc_form(root, places, difficult=cfg.difficult)
        case DataKind.coco14 | DataKind.coco17:
            return coco_form(root, places, year=_year(cfg))
        case DataKind.coco:
            return own_coco_form(root, places, val_share=cfg.val_share)
        case DataKind.sbd:
            return sbd_form(root, places)
        case DataKind.photos:
            return photos_form(root, places, classes=cfg.classes, val_share=cfg.val_share)
        case DataKind.folder | DataKind.railroad:
            return folder_form(root, places)


def data_index(cfg: DataConfig) -> Index:
    """Where `eps.prepare` keeps what it has found out about the dataset."""
    if cfg.index != "auto":
        return Index(Path(cfg.index))
    known = fingerprint_of(str(Path(cfg.root).resolve()), cfg.tags, repr(cfg.difficult), repr(cfg.classes))
    return Index(Path("runs", "data", f"{cfg.kind}-{known[:12]}"))


def truth(cfg: DataConfig) -> Truth:
    """The true masks of the dataset: for evaluation, and for the supervised upper bound alone."""
    form = data_form(cfg)
    whole = _whole_truth(cfg, form)
    if not _is_subset(cfg):
        return whole
    return TruthOfClasses(whole=whole, known=data_index(cfg).listing(form).classes, classes=tuple(cfg.classes))


def _whole_truth(cfg: DataConfig, form: Form) -> Truth:
    if cfg.kind in COCO:
        return CocoTruth(tuple(coco_files(cfg, below=cfg.truth)))
    if cfg.kind is DataKind.sbd:
        return SbdTruth(form.root, cfg.truth)
    folders = (cfg.truth, "SegmentationClassAug") if cfg.kind is DataKind.voc12 else (cfg.truth,)
    return TruthFolder(form.root, folders)


def coco_files(cfg: DataConfig, *, below: str = "") -> list[Path]:
    """The json files that annotations are read from, of `data.tags` or of another place; none of other datasets."""
    return list(coco_splits(cfg, below=below).values())


def coco_splits(cfg: DataConfig, *, below: str = "") -> dict[str, Path]:
    """The files of `coco_files` by split."""
    if cfg.kind not in COCO:
        return {}
    place = Path(cfg.root) / (below or cfg.tags)
    return own_json_files(place) if cfg.kind is DataKind.coco else json_files(place, _year(cfg))


def coco_ids(cfg: DataConfig) -> CocoIds:
    """The ids that a results file of predictions for this dataset has."""
    if cfg.kind is DataKind.coco:
        return CocoIds.read(coco_files(cfg))
    return CocoIds(categories=dict(zip(COCO_NAMES, COCO_CATEGORIES, strict=True)) if cfg.kind in COCO else {})


def source(cfg: Config) -> Photos | Footage:
    """The photos, or the video or camera, that `source` names. A dataset is opened for a split alone."""
    split = split_of(cfg)
    if split is None:
        found = open_source(cfg.source, most=cfg.predict.frames)
        return _chosen(cfg, found.files) if isinstance(found, Photos) else found
    folder = dataset(cfg.data)
    return _chosen(cfg, {photo: folder.photo_path(photo) for photo in folder.listed(split)})


def split_of(cfg: Config) -> str | None:
    """The split that `source` names, if it does."""
    return cfg.source.removeprefix(SPLIT) if cfg.source.startswith(SPLIT) else None


def _chosen(cfg: Config, files: Mapping[str, Path]) -> Photos:
    """All photos, or so many of them."""
    node = cfg.predict
    ids = sample(list(files), most=node.frames, seed=cfg.seed if node.shuffle else None)
    return Photos(files={photo: files[photo] for photo in ids})


def _is_subset(cfg: DataConfig) -> bool:
    """Whether only some classes of the dataset are asked for: data=photos has no others than `data.classes` says."""
    return bool(cfg.classes) and cfg.kind is not DataKind.photos


def _year(cfg: DataConfig) -> int:
    return 2014 if cfg.kind is DataKind.coco14 else 2017
