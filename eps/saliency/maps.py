"""The saliency maps of a dataset: which are missing, how they are made, what they look like."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from eps.data.artifacts import write_saliency
from eps.data.layout import DatasetFolder

BLANK = 0.01
"""A map whose mean is below it, or above 1 minus it, points nothing out."""

DECIDED = 0.25
"""Pixels nearer than this to 0 or to 1 are decided."""

SaliencyNetwork = Callable[[Sequence[Image.Image]], list[UInt8[np.ndarray, "_ _"]]]
"""Makes maps, 0..255, of RGB photos, each of its photo's size."""


class MapSummary(NamedTuple):
    """Means over photos, in 0..1. No truth is needed for any of them."""

    coverage: float
    """Saliency."""
    blank: float
    """Share of maps that are all but empty or all but full."""
    decided: float
    """Share of pixels below a quarter or above three quarters; none in a blank map."""


def advice(folder: DatasetFolder, missing: Sequence[str], *, of: int) -> str:
    """One line on what to do where photos have no saliency map."""
    example = folder.saliency_path(missing[0])
    return (
        f"{len(missing)} of {of} photos have no saliency map in {example.parent} ({example.name} is missing): have "
        "them made with saliency=u2net saliency.model=FILE, or isnet, birefnet, onnx (needs pip install "
        "'eps-seg[saliency]' and the network's ONNX file), or saliency=rembg (needs pip install 'rembg[cpu]', which "
        "fetches one), or train without: experiment=photos_cam, or classifier=cam in another recipe"
    )


def make_maps(folder: DatasetFolder, ids: Sequence[str], network: SaliencyNetwork, *, batch: int) -> Iterator[str]:
    """Make and write the maps of `ids`, naming each photo that is done. Raises `UserError` for an unreadable photo."""
    for start in range(0, len(ids), batch):
        photos = ids[start : start + batch]
        made = network([folder.photo(photo) for photo in photos])
        for photo, saliency in zip(photos, made, strict=True):
            write_saliency(folder.saliency_path(photo), saliency)
            yield photo


def summarise(folder: DatasetFolder, ids: Sequence[str]) -> MapSummary:
    """What the maps on disk look like. Raises `UserError` for one that cannot be read."""
    seen = [_map_facts(folder.stored_saliency(photo)) for photo in ids]
    coverage, blank, decided = np.mean(seen, axis=0).tolist()
    return MapSummary(coverage=coverage, blank=blank, decided=decided)


def _map_facts(saliency: UInt8[np.ndarray, "H W"]) -> MapSummary:
    values = saliency / 255
    mean = float(values.mean())
    blank = not BLANK <= mean <= 1 - BLANK
    decided = 0.0 if blank else float((np.abs(values - 0.5) > 0.5 - DECIDED).mean())
    return MapSummary(coverage=mean, blank=float(blank), decided=decided)
