"""What a dataset's saliency maps are worth to training, told without truth: alone, and beside the tags."""

from collections.abc import Sequence
from typing import NamedTuple

from eps.data.layout import DatasetFolder
from eps.saliency.maps import BLANK, MapSummary, summarise


class MapQuality(NamedTuple):
    """Of the maps that there are."""

    summary: MapSummary | None
    """None where there is no map."""
    missing: list[str]
    """Photos without a map."""
    tagged_blank: list[str]
    """Photos with tags whose map is all but empty: all of them would be background."""
    untagged_salient: list[str]
    """Photos without tags whose map is not: what is salient there has no class."""
    full: list[str]
    """Photos whose map is all but full: nothing would be background."""


def map_quality(folder: DatasetFolder, ids: Sequence[str]) -> MapQuality:
    """Look at the maps of these photos. Raises `UserError` for one that cannot be read."""
    missing = set(folder.without_saliency(ids))
    there = [photo for photo in ids if photo not in missing]
    means = {photo: float(folder.stored_saliency(photo).mean()) / 255 for photo in there}
    return MapQuality(
        summary=summarise(folder, there) if there else None,
        missing=[photo for photo in ids if photo in missing],
        tagged_blank=[photo for photo in there if folder.labels[photo] and means[photo] < BLANK],
        untagged_salient=[photo for photo in there if not folder.labels[photo] and means[photo] >= BLANK],
        full=[photo for photo in there if means[photo] > 1 - BLANK],
    )
