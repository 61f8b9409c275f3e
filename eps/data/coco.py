"""COCO 2014 and 2017 as they unpack, photos in train20XX/, tags in annotations/instances_*.json; and any such json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from eps.data.artifacts import read_json
from eps.data.files import id_of
from eps.data.images import MAX_PIXELS
from eps.data.listing import Form, Listing, Places, existing, refuse_background, set_aside
from eps.errors import UserError

SPLITS: Final = ("train", "val")


@dataclass(frozen=True)
class CocoPhoto:
    """A photo of a json, with its annotations as they stand there."""

    height: int
    width: int
    annotations: list[Mapping[str, Any]]


@dataclass(frozen=True)
class CocoFile:
    """An `instances_*.json`: classes in the order of its categories, each category id's class, photos by id."""

    classes: tuple[str, ...]
    class_of: Mapping[int, int]
    photos: Mapping[str, CocoPhoto]


def coco_form(root: Path, places: Places, *, year: int) -> Form:
    """COCO of a year in a folder; `places.tags` is the folder of the json files.

    Raises `UserError` where the folder, or both json files, are missing.
    """
    existing(root, holds=f"annotations/, train{year}/ and val{year}/")
    files = json_files(root / places.tags, year)
    if not files:
        raise UserError(f"{root / places.tags}/instances_train{year}.json is missing: it holds classes and tags")
    return Form(
        kind=f"coco{year}",
        root=root,
        places=replace(places, photos=(f"train{year}", f"val{year}"), split=f"{places.tags}/instances_{{}}{year}.json"),
        sources=lambda: list(files.values()),
        read=partial(_read, files),
        indexed=True,
    )


def own_coco_form(root: Path, places: Places, *, val_share: float) -> Form:
    """Photos anywhere below a folder, in COCO's format; `places.tags` is a json, or a folder with one a split.

    Of a single file, `val_share` of the photos, chosen by a hash of the id, are the split `val`, the others `train`. A
    folder's splits have their files' names, less `instances_`. Names of photos are relative to `images/`, to a folder
    of the split's name, to `JPEGImages/`, or to the folder itself. Raises `UserError` where there is no json.
    """
    tags = existing(root, holds="the photos and a json of COCO's format") / places.tags
    files = own_json_files(tags)
    if not files:
        raise UserError(f"{tags} is no json, and no folder of them: data.tags=FILE.json names the one to read")
    share = val_share if tags.is_file() else 0.0
    split = f"{places.tags} ({{}})" if tags.is_file() else f"{places.tags}/{{}}.json"
    return Form(
        kind="coco",
        root=root,
        places=replace(places, photos=("images", *files, "JPEGImages", "."), split=split),
        sources=lambda: list(files.values()),
        read=partial(_read, files, share),
        settings=(places.tags, f"val_share={share}"),
        indexed=True,
    )


def own_json_files(tags: Path) -> dict[str, Path]:
    """The json files by split: one file is `train`, those of a folder have their names, less `instances_`."""
    if tags.is_file():
        return {"train": tags}
    return {path.stem.removeprefix("instances_"): path for path in sorted(tags.glob("*.json"))}


def json_files(folder: Path, year: int) -> dict[str, Path]:
    """The json files that there are, by split."""
    files = {split: folder / f"instances_{split}{year}.json" for split in SPLITS}
    return {split: path for split, path in files.items() if path.is_file()}


def _read(files: Mapping[str, Path], val_share: float = 0.0) -> Listing:
    labels: dict[str, tuple[str, ...]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    splits: dict[str, tuple[str, ...]] = {}
    classes: tuple[str, ...] = ()
    for split, path in files.items():
        content = read_coco(path)
        if classes and content.classes != classes:
            raise UserError(f"{path} has other categories than {next(iter(files.values()))}: they must be of one kind")
        classes = content.classes
        splits[split] = tuple(content.photos)
        labels |= {photo: _tags(content, held.annotations) for photo, held in content.photos.items()}
        sizes |= {photo: (held.height, held.width) for photo, held in content.photos.items()}
    if val_share:
        splits = set_aside(tuple(labels), val_share)
    return Listing(classes=classes, labels=labels, splits=splits, sizes=sizes)


def photos_alone(files: Mapping[str, Path]) -> Listing:
    """Which photos json files (by split) name and of what size, as far as they do, however faulty the rest of them."""
    splits: dict[str, tuple[str, ...]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for split, path in files.items():
        content = read_json(path)
        images = content.get("images") if isinstance(content, dict) else None
        rows = [row for row in images if isinstance(row, dict)] if isinstance(images, list) else []
        named = [(id_of(row["file_name"]), row) for row in rows if isinstance(row.get("file_name"), str)]
        splits[split] = tuple(dict.fromkeys(photo for photo, _ in named))
        for photo, row in named:
            height, width = row.get("height"), row.get("width")
            if type(height) is int and type(width) is int and min(height, width) > 0:
                sizes[photo] = (height, width)
    labels: dict[str, tuple[str, ...]] = {photo: () for ids in splits.values() for photo in ids}
    return Listing(classes=(), labels=labels, splits=splits, sizes=sizes)


def read_coco(path: Path) -> CocoFile:
    """Read an `instances_*.json`. Raises `UserError` where it is not of COCO's form, or contradicts itself."""
    content = read_json(path)
    try:
        categories = [(int(category["id"]), str(category["name"])) for category in content["categories"]]
        photos, ids = _photos(content["images"])
        class_of = {number: index for index, (number, _) in enumerate(categories)}
        for annotation in content["annotations"]:
            if annotation["category_id"] not in class_of:
                raise ValueError(f"annotation {annotation.get('id')} has no category of the file")
            photos[ids[annotation["image_id"]]].annotations.append(annotation)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} does not hold instances in COCO's format: {error!r}") from error
    names = tuple(name for _, name in categories)
    if not names or len(set(names)) < len(names) or len(class_of) < len(names):
        raise UserError(f"{path}: categories must be some, each with a name and an id of its own")
    refuse_background(names, path)
    return CocoFile(names, class_of, photos)


def _photos(images: Sequence[Mapping[str, Any]]) -> tuple[dict[str, CocoPhoto], dict[int | str, str]]:
    """Photos by our id (the name without suffix), and our id by COCO's."""
    photos: dict[str, CocoPhoto] = {}
    ids: dict[int | str, str] = {}
    for image in images:
        photo = id_of(str(image["file_name"]))
        if photo in photos or image["id"] in ids:
            raise ValueError(f"image {image['id']}, {photo}, stands there twice")
        height, width = int(image["height"]), int(image["width"])
        if min(height, width) < 1 or height * width > MAX_PIXELS:
            raise ValueError(f"image {image['id']}, {photo}, is {width}x{height}")
        photos[photo] = CocoPhoto(height, width, [])
        ids[image["id"]] = photo
    return photos, ids


def _tags(content: CocoFile, annotations: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The classes that are annotated, crowds included, in the order of the classes."""
    present = sorted({content.class_of[annotation["category_id"]] for annotation in annotations})
    return tuple(content.classes[index] for index in present)
