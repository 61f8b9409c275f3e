"""PASCAL VOC 2012 as it unpacks: tags from the boxes in its xml files, or from EPS's `cls_labels.npy`."""

import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from eps.data.annotations.voc_xml import stated_size
from eps.data.annotations.xml_file import read_xml_file
from eps.data.archives import fetch_folder
from eps.data.class_names import VOC
from eps.data.cls_labels import read_cls_labels
from eps.data.files import files_by_id, is_safe
from eps.data.listing import Form, Listing, Places, existing, folder_with, id_of_line, list_files, read_lists, tag_fault
from eps.errors import UserError, one_line

TRAIN_AUG: Final = (
    "SBD's list of 10,582 photos does not come with VOC 2012: put train_aug.txt there, as EPS's and DeepLab's authors "
    "hand it out, its masks being SegmentationClassAug; or set data.train=train"
)
URL: Final = "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
MD5: Final = "6cd6e144f989b92b3379bac3b3de84fd"
_PLACES: Final = (".", "VOC2012", "VOCdevkit/VOC2012")


def locate(root: Path) -> Path:
    """The folder VOC2012 at or below `root`. Raises `UserError` where it is not there."""
    existing(root, holds="VOCdevkit/VOC2012, or set data.download=true")
    return folder_with("JPEGImages", root, _PLACES, usual="VOCdevkit/VOC2012")


def download(root: Path) -> None:
    """Fetch and unpack VOC 2012 (2 GB) below `root` unless it is there. Raises `UserError` where that fails."""
    if any((root / place / "JPEGImages").is_dir() for place in _PLACES):
        return
    try:
        fetch_folder(URL, root / "VOCdevkit" / "VOC2012", md5=MD5, below="VOCdevkit/VOC2012")
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        told = f"data.download=true: VOC 2012 cannot be fetched ({one_line(error)})"
        raise UserError(f"{told}: unpack VOCtrainval_11-May-2012.tar in {root}") from error


def voc_form(root: Path, places: Places, *, difficult: bool) -> Form:
    """VOC 2012 at or below `root`; `places.tags` is the folder of the xml files, or a file like `cls_labels.npy`.

    `difficult` says whether objects that the annotators marked so count as tags. Raises `UserError` where it is not
    there.
    """
    folder = locate(root)
    tags = folder / places.tags
    from_array = tags.suffix.lower() == ".npy"
    if not from_array and not tags.is_dir():
        raise UserError(f"{tags} is missing: data.tags names the folder of the xml files, or EPS's cls_labels.npy")
    return Form(
        kind="voc12",
        root=folder,
        places=replace(places, hints={"train_aug": TRAIN_AUG}),
        sources=lambda: [*list_files(folder), *([tags] if from_array else _xml_files(tags).values())],
        read=partial(_read_array, folder, tags) if from_array else partial(_read_xml, folder, tags, difficult),
        settings=(places.tags, f"difficult={difficult}"),
        indexed=True,
    )


def _read_array(folder: Path, tags: Path) -> Listing:
    table = read_cls_labels(tags, classes=len(VOC))
    labels = {photo: tuple(VOC[c] for c in present) for photo, present in table.items()}
    return Listing(classes=VOC, labels=labels, splits=read_lists(folder, id_of_line))


def _read_xml(folder: Path, tags: Path, difficult: bool) -> Listing:
    """Read the xml files of the photos that are in a split."""
    splits = read_lists(folder, id_of_line)
    files = _xml_files(tags)
    labels, faults = {}, {}
    sizes: dict[str, tuple[int, int]] = {}
    for photo in dict.fromkeys(photo for split in splits.values() for photo in split if is_safe(photo)):
        try:
            if photo not in files:
                raise UserError(f"{tags / photo}.xml is missing: it holds the tags of photo {photo!r}")
            labels[photo], size = read_xml(files[photo], difficult=difficult)
            if size is not None:
                sizes[photo] = size
        except UserError as error:
            faults[photo] = str(error)
    return Listing(classes=VOC, labels=labels, splits=splits, sizes=sizes, faults=faults)


class XmlAnnotation(NamedTuple):
    """What a VOC annotation says of its photo."""

    tags: tuple[str, ...]
    size: tuple[int, int] | None
    """(height, width); None where it states none, or 0."""


def read_xml(path: Path, *, difficult: bool) -> XmlAnnotation:
    """The classes of the objects in a VOC annotation, in VOC's order, and its photo's size.

    Objects marked difficult count if `difficult`. Raises `UserError` for a file that is too large, no xml, declares
    entities, or names a class that VOC has not.
    """
    root = read_xml_file(path)
    objects = [o for o in root.findall("object") if difficult or (o.findtext("difficult") or "0").strip() != "1"]
    names = {(o.findtext("name") or "").strip() for o in objects}
    if fault := tag_fault(sorted(names), VOC):
        raise UserError(f"{path} {fault}")
    return XmlAnnotation(tuple(name for name in VOC if name in names), stated_size(root))


def _xml_files(tags: Path) -> dict[str, Path]:
    return files_by_id(tags, (".xml",))
