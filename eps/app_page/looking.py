"""A photo and a few numbers in, what a run's networks make of it out: pictures, a table, files."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from eps.app_page.uploads import Upload
from eps.data.artifacts import LabelledInstance, write_instances, write_mask
from eps.engine.inference import semantic_labels
from eps.engine.instances import Instances
from eps.engine.predictor import Predictor
from eps.models.segmenter import SegmenterOutput
from eps.ops.pseudo_labels import IGNORE
from eps.report_page.pictures import fit, paint_labels, paint_map

SIDE = 480
"""Longest side of a picture in pixels."""
EVERY = -1
"""The number of no class: all are shown."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What a run has to look at photos with: a segmenter, a classifier, or both."""

    classes: tuple[str, ...]
    predictor: Predictor | None = None
    localize: Callable[[Image.Image, Sequence[int]], Tensor] | None = None
    """Localization maps (c, H, W) of a photo with these tags, in 0..1, zero for others."""
    label: Callable[[Image.Image, Tensor, float], UInt8[np.ndarray, "_ _"]] | None = None
    """The pseudo-mask of a photo, its maps and a background threshold."""


class Seen(NamedTuple):
    """A photo with all of it that no slider changes."""

    upload: Upload
    output: SegmenterOutput | None
    """The segmenter's raw output, where there is one that finds instances."""
    semantic: UInt8[np.ndarray, "_ _"] | None
    """Class + 1 of each pixel, 0 background, where there is a segmenter that says so."""


class Limits(NamedTuple):
    """What of the instances is shown."""

    score: float
    nms_iou: float
    only: int = EVERY
    """The class that is asked for."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where the controls stand when the page opens."""

    score: float
    nms_iou: float
    threshold: float


Row = tuple[str, float, str, int]
HEADINGS = ("class", "score", "x, y, width, height", "pixels")


def see(networks: Networks, upload: Upload) -> Seen:
    """Run the segmenter, if any, on a photo."""
    predictor, photo = networks.predictor, upload.photo
    if predictor is None:
        return Seen(upload, None, None)
    if not predictor.has_instances:
        return Seen(upload, None, predictor.predict_all(photo)[1].cpu().numpy())
    output = predictor.run(photo)
    if not predictor.has_semantic:
        return Seen(upload, output, None)
    return Seen(upload, output, semantic_labels(output, 0, size=(photo.height, photo.width)).cpu().numpy())


def instances(
    networks: Networks, seen: Seen, limits: Limits, *, size: tuple[int, int] | None = None
) -> Instances | None:
    """What is found in a photo within the limits, at `size` (height, width), its own where None; None of DeepLab."""
    if networks.predictor is None or seen.output is None:
        return None
    limited = copy(networks.predictor)
    limited.score_threshold = limited.least_score = limits.score
    limited.iou_threshold = limits.nms_iou
    limited.wanted = None if limits.only == EVERY else [limits.only]
    photo = seen.upload.photo
    return limited.instances(seen.output, size=size or (photo.height, photo.width))


def instances_picture(networks: Networks, seen: Seen, limits: Limits, *, found: Instances | None) -> Image.Image | None:
    """The photo under its instances, those that have pixels in it, drawn at the page's size.

    `found` is what `instances` gives at the photo's own size.
    """
    photo = fit(seen.upload.photo, SIDE)
    drawn = instances(networks, seen, limits, size=(photo.height, photo.width))
    if found is None or drawn is None:
        return None
    visible = found.masks.flatten(1).any(dim=1)
    return _only(drawn, visible).draw(photo)


def _only(found: Instances, kept: Bool[Tensor, " n"]) -> Instances:
    boxes, scores, classes, masks = (part[kept] for part in found)
    return replace(found, boxes=boxes, scores=scores, classes=classes, masks=masks, mask_scores=found.mask_scores[kept])


def rows(found: Instances | None) -> list[Row]:
    """A table of instances, one a row, in pixels of the photo, without those that have none; see `HEADINGS`."""
    if found is None:
        return []
    corners = [[round(edge) for edge in box] for box in found.boxes.tolist()]
    boxes = [f"{x1}, {y1}, {x2 - x1}, {y2 - y1}" for x1, y1, x2, y2 in corners]
    scores = [round(score, 3) for score in found.scores.tolist()]
    listed = zip(found.names, scores, boxes, found.masks.flatten(1).sum(dim=1).tolist(), strict=True)
    return [row for row in listed if row[-1]]


def of_class(labels: UInt8[np.ndarray, "h w"], only: int) -> UInt8[np.ndarray, "h w"]:
    """A label map in which other classes than the one asked for are background."""
    if only == EVERY:
        return labels
    return np.where((labels == only + 1) | (labels == IGNORE), labels, 0).astype(np.uint8)


def labels_picture(seen: Seen, labels: UInt8[np.ndarray, "h w"] | None, *, only: int = EVERY) -> Image.Image | None:
    """The photo, greyed, under a label map of it."""
    return None if labels is None else paint_labels(seen.upload.photo, of_class(labels, only), side=SIDE)


def maps_of(networks: Networks, seen: Seen, tags: Sequence[int]) -> Float[Tensor, "c h w"] | None:
    """Localization maps of a photo with these tags; None without a classifier."""
    return None if networks.localize is None else networks.localize(seen.upload.photo, tags)


def map_pictures(
    networks: Networks, seen: Seen, maps: Float[Tensor, "c h w"] | None, *, only: int = EVERY
) -> list[tuple[Image.Image, str]]:
    """One picture for each class that has a map, with its name."""
    if maps is None:
        return []
    present = [c for c in maps.flatten(1).any(dim=1).nonzero()[:, 0].tolist() if only in (EVERY, c)]
    return [(paint_map(seen.upload.photo, maps[c].cpu().numpy(), side=SIDE), networks.classes[c]) for c in present]


def pseudo_mask(
    networks: Networks, seen: Seen, maps: Float[Tensor, "c h w"] | None, *, threshold: float
) -> UInt8[np.ndarray, "h w"] | None:
    """The labels that stage 2 would give a photo with these maps; None without any."""
    if networks.label is None or maps is None or not bool(maps.any()):
        return None
    return networks.label(seen.upload.photo, maps, threshold)


class Files(NamedTuple):
    """What can be downloaded; None for what there is nothing of."""

    coco: Path | None
    semantic: Path | None
    pseudo_mask: Path | None


def write_files(
    folder: Path,
    networks: Networks,
    seen: Seen,
    *,
    limits: Limits,
    maps: Float[Tensor, "c h w"] | None,
    threshold: float,
) -> Files:
    """Write what is shown: instances as COCO's json (RLE masks, category ids class + 1), labels as palette PNGs."""
    stem = Path(seen.upload.name).stem
    found = instances(networks, seen, limits)
    mask = pseudo_mask(networks, seen, maps, threshold=threshold)
    return Files(
        None if found is None else _write_coco(folder / f"{stem}_instances.json", networks, seen, found),
        _write_labels(folder / f"{stem}_semantic.png", seen.semantic, limits.only),
        _write_labels(folder / f"{stem}_pseudo_mask.png", mask, limits.only),
    )


def _write_coco(path: Path, networks: Networks, seen: Seen, found: Instances) -> Path:
    name, photo = seen.upload.name, seen.upload.photo
    parts = zip(found.classes.tolist(), found.masks.cpu().numpy(), found.mask_scores.tolist(), strict=True)
    listed = [
        LabelledInstance(class_index=c, mask=mask, uncertain=False, score=score)
        for c, mask, score in parts
        if mask.any()
    ]
    write_instances(path, {name: listed}, sizes={name: (photo.height, photo.width)}, classes=networks.classes)
    return path


def _write_labels(path: Path, labels: UInt8[np.ndarray, "h w"] | None, only: int) -> Path | None:
    if labels is None:
        return None
    write_mask(path, of_class(labels, only))
    return path
