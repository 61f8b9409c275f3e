"""Faults of a dataset folder, all at once."""

from collections.abc import Sequence

from eps.data.layout import DatasetFolder
from eps.errors import UserError


def faults(folder: DatasetFolder, ids: Sequence[str], *, with_saliency: bool) -> list[str]:
    """What is wrong with these photos and their saliency maps: unreadable, missing or of different sizes."""
    found = []
    for photo in ids:
        try:
            image = folder.photo(photo)
            if with_saliency:
                folder.saliency(photo, size=(image.height, image.width))
        except UserError as error:
            found.append(str(error))
    return found
