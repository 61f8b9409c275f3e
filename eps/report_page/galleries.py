"""Some photos of a split, and what each method makes of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from PIL import Image

from eps.data.artifacts import read_mask, read_scores
from eps.data.layout import DatasetFolder
from eps.data.truth import Truth
from eps.engine.instances import Instances
from eps.errors import UserError
from eps.ops.pseudo_labels import label_map
from eps.report_page.parts import Parts, read_evaluation
from eps.report_page.pictures import Chip, Picture, class_chip, paint_instances, paint_labels, paint_map, show
from eps.report_page.ranking import Chosen, Measure

PHOTOS = 12
"""Of a gallery that cannot rank its photos."""
MIN_SCORE = 0.3
"""Instances of a lower score are not drawn."""
MAPS, CHIPS = 3, 6
"""A photo shows so many localization maps at most, and a picture so many names."""

Maps = Callable[[str], Float[np.ndarray, "c H W"] | None]
"""The localization maps of a photo, in 0..1."""


class Card(NamedTuple):
    """One photo of a gallery."""

    photo: str
    tags: tuple[Chip, ...]
    pictures: list[Picture]
    classes: tuple[str, ...] = ()
    """By which it can be found."""
    score: float | None = None
    """The photo's own."""
    ranks: tuple[str, ...] = ()
    measure: Measure = Measure.miou
    """What the score is, and the ranks are by."""


class Found(NamedTuple):
    """What segmenters find in photos, by photo: instances, and semantic maps, DeepLab's apart."""

    instances: Mapping[str, Instances]
    semantic: Mapping[str, UInt8[np.ndarray, "H W"]]
    deeplab: Mapping[str, UInt8[np.ndarray, "H W"]]


def spread(folder: DatasetFolder, ids: Sequence[str], count: int = PHOTOS) -> list[str]:
    """At most `count` photos, in the order of the split: one of each class in turn, then whatever comes first."""
    left = list(ids)
    chosen: list[str] = []
    while len(chosen) < min(count, len(ids)):
        before = len(chosen)
        for name in folder.classes:
            found = next((photo for photo in left if name in folder.labels[photo]), None)
            if found is not None and len(chosen) < count:
                chosen.append(found)
                left.remove(found)
        if len(chosen) == before:  # only photos without tags are left
            chosen += left[: count - len(chosen)]
    return sorted(chosen, key=list(ids).index)


def training_cards(
    parts: Parts, folder: DatasetFolder, truth: Truth, chosen: Sequence[Chosen], *, maps: Maps, found: Found
) -> list[Card]:
    """Each photo on its way from tags to a prediction: all that the run has of it, and the truth if there is any."""
    best = read_evaluation(parts.cam_pseudo_masks).get("best_threshold")
    cards = []
    for photo, score, ranks, measure in chosen:
        image = folder.photo(photo)
        pictures = [show(image, alt=f"photo {photo}", caption="photo")]
        if folder.saliency_path(photo).is_file():
            saliency = folder.saliency(photo, size=(image.height, image.width))
            pictures.append(show(Image.fromarray(saliency), alt=f"saliency map of {photo}", caption="saliency"))
        pictures += _map_pictures(folder, photo, image, maps(photo))
        labels = {
            "CAM": _cam_labels(parts.cam_pseudo_masks, photo, None if best is None else best["threshold"]),
            "EPS": _labels(parts.pseudo_masks, photo),
            "EPS + CRF": _labels(parts.crf_pseudo_masks, photo),
        }
        pictures += [_label_picture(folder, photo, image, m, name) for name, m in labels.items() if m is not None]
        pictures += _found_pictures(folder, photo, image, found)
        if truth.covers([photo]):
            pictures.append(_label_picture(folder, photo, image, truth.semantic(photo), "truth"))
        tags = folder.labels[photo]
        cards.append(Card(photo, _tags(folder, photo), pictures, tuple(tags), score, ranks, measure))
    return cards


def validation_cards(folder: DatasetFolder, truth: Truth, chosen: Sequence[Chosen], found: Found) -> list[Card]:
    """Each photo with the instances found in it (masks, boxes, names, scores), semantic maps, and the truth.

    What there is none of is left out. A card is found by the tags of its photo, and by what truly is in it.
    """
    cards = []
    for photo, score, ranks, measure in chosen:
        image = folder.photo(photo)
        pictures = [show(image, alt=f"photo {photo}", caption="photo"), *_found_pictures(folder, photo, image, found)]
        classes = list(folder.labels.get(photo, ()))
        if truth.covers([photo]):
            true = truth(photo)
            names = _counted(folder, true.classes)
            painted = paint_instances(image, true.masks, true.classes)
            alt = f"true instances of {photo}: {_spoken(names)}"
            pictures.append(show(painted, alt=alt, caption="truth", chips=_few(names)))
            classes += [folder.classes[index] for index in np.unique(true.classes).tolist()]
        found_by = tuple(dict.fromkeys(classes))
        cards.append(Card(photo, _tags(folder, photo), pictures, found_by, score, ranks, measure))
    return cards


def stored_maps(folder: Path | None, photo: str) -> Float[np.ndarray, "c H W"] | None:
    """The localization maps that stage 2 has kept of a photo, if it has."""
    path = None if folder is None else folder / "scores" / f"{photo}.npz"
    return read_scores(path) if path is not None and path.is_file() else None


def _map_pictures(
    folder: DatasetFolder, photo: str, image: Image.Image, maps: Float[np.ndarray, "c H W"] | None
) -> list[Picture]:
    if maps is None:
        return []
    if maps.shape != (wanted := (len(folder.classes), image.height, image.width)):
        raise UserError(f"the stored maps of photo {photo!r} are {maps.shape}, wanted are {wanted}: make them anew")
    return [
        show(
            paint_map(image, maps[folder.classes.index(name)]),
            alt=f"localization map of {name} in {photo}",
            caption=f"map: {name}",
        )
        for name in folder.labels[photo][:MAPS]
    ]


def _found_pictures(folder: DatasetFolder, photo: str, image: Image.Image, found: Found) -> list[Picture]:
    pictures = []
    if photo in found.instances:
        pictures.append(_found_picture(folder, photo, image, found.instances[photo]))
    if photo in found.semantic:
        pictures.append(_label_picture(folder, photo, image, found.semantic[photo], "semantic map"))
    if photo in found.deeplab:
        pictures.append(_label_picture(folder, photo, image, found.deeplab[photo], "DeepLab"))
    return pictures


def _found_picture(folder: DatasetFolder, photo: str, image: Image.Image, instances: Instances) -> Picture:
    shown = instances.scores >= MIN_SCORE
    boxes, scores, classes, masks = (values[shown].cpu().numpy() for values in instances)
    pairs = zip(classes, scores, strict=True)
    names = tuple(class_chip(int(c), f"{folder.classes[int(c)]} {score:.2f}") for c, score in pairs)
    painted = paint_instances(image, masks, classes, boxes)
    alt = f"instances that the segmenter finds in {photo}: {_spoken(names)}"
    return show(painted, alt=alt, caption="segmenter" if names else "segmenter: nothing", chips=_few(names))


def _few(names: tuple[Chip, ...]) -> tuple[Chip, ...]:
    """The first of many."""
    rest = len(names) - CHIPS
    return names if rest <= 0 else (*names[:CHIPS], Chip(f"and {rest} more", "transparent"))


def _counted(folder: DatasetFolder, classes: Integer[np.ndarray, " n"]) -> tuple[Chip, ...]:
    """One chip a class, with the number of its instances."""
    values, counts = np.unique(classes, return_counts=True)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return tuple(class_chip(c, folder.classes[c] if n == 1 else f"{folder.classes[c]} ({n})") for c, n in pairs)


def _label_picture(
    folder: DatasetFolder, photo: str, image: Image.Image, labels: UInt8[np.ndarray, "H W"], name: str
) -> Picture:
    names = [folder.classes[value - 1] for value in np.unique(labels).tolist() if 0 < value <= len(folder.classes)]
    alt = f"{name}, labels of {photo}: {', '.join(names) or 'background alone'}"
    return show(paint_labels(image, labels), alt=alt, caption=name)


def _cam_labels(folder: Path | None, photo: str, threshold: float | None) -> UInt8[np.ndarray, "H W"] | None:
    """CAM's labels at this threshold where its maps were kept, else its stored ones."""
    maps = None if threshold is None else stored_maps(folder, photo)
    if threshold is None or maps is None:
        return _labels(folder, photo)
    return label_map(torch.from_numpy(maps), threshold=threshold).numpy()


def _labels(folder: Path | None, photo: str) -> UInt8[np.ndarray, "H W"] | None:
    path = None if folder is None else folder / "masks" / f"{photo}.png"
    return read_mask(path) if path is not None and path.is_file() else None


def _tags(folder: DatasetFolder, photo: str) -> tuple[Chip, ...]:
    return tuple(class_chip(folder.classes.index(tag), tag) for tag in folder.labels[photo])


def _spoken(names: Sequence[Chip]) -> str:
    return ", ".join(chip.text for chip in names) or "none"
