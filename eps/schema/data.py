"""The dataset: `data`."""

from dataclasses import dataclass
from enum import StrEnum


class DataKind(StrEnum):
    railroad = "railroad"
    """The embedded benchmark, generated where it is missing."""
    folder = "folder"
    """A dataset folder of our layout (see the README)."""
    voc12 = "voc12"
    """PASCAL VOC 2012 as it unpacks."""
    coco14 = "coco14"
    """COCO 2014 as it unpacks."""
    coco17 = "coco17"
    """COCO 2017 as it unpacks."""
    photos = "photos"
    """A plain folder of photos with a csv of labels."""
    coco = "coco"
    """Photos of your own with labels in COCO's format."""
    sbd = "sbd"
    """The Semantic Boundaries Dataset as it unpacks: masks of PASCAL's objects as .mat files."""


@dataclass(kw_only=True, slots=True)
class DataConfig:
    kind: DataKind
    """What lies in `root`."""
    root: str
    """The dataset's folder."""
    tags: str
    """What holds the tags, below root or absolute: a json, a csv, the folder of VOC's xml files or of COCO's json
    files, or (voc12) a file like EPS's cls_labels.npy."""
    saliency: str
    """Folder of the saliency maps, below root or absolute."""
    truth: str
    """Folder of the true masks, or of COCO's json files, below root or absolute."""
    classes: list[str]
    """Names of the classes, in order; empty for all. Objects of others are background, and photos of `train` and
    `scored` that show none of these are left out. Of data=photos: all that the csv may name; empty for its labels,
    sorted."""
    difficult: bool
    """Of data=voc12: objects that the annotators marked difficult count as tags, as they do in EPS."""
    val_share: float
    """Of data=photos, and of data=coco with one json: share of the photos, chosen by a hash of their names, that is put
    aside as the split val."""
    download: bool
    """Of data=voc12: eps.prepare fetches it into root where it is missing."""
    check_truth: bool
    """eps.prepare also checks the true masks that there are."""
    index: str
    """Folder for what eps.prepare finds out; auto: in runs/data, one for each dataset and its settings."""
    on_error: str
    """What to do about photos that cannot be used: raise (stop and tell), or skip (leave them out; the manifests list
    them, each with the reason)."""
    train: str
    """Split that stages 1 to 3 learn from."""
    scored: str
    """Split of photos that stage 2 labels on which the pseudo-masks are scored."""
    val: str
    """Split that stage 3 is scored on."""
    also: list[str]
    """Further splits to score the segmenter on."""
    sizes: dict[str, int]
    """Scenes in each split of the embedded benchmark; empty for other data."""
    size: int
    """Side of the embedded benchmark's scenes in pixels; 0 for other data."""
