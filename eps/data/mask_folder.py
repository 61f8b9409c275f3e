"""Label masks of any project: a folder of predicted PNGs beside a folder of true ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from eps.data.artifacts import read_mask
from eps.data.files import files_by_id
from eps.data.images import read_image_size
from eps.data.listing import id_of_line, read_list
from eps.errors import UserError, some

_NAMED = 10


@dataclass(frozen=True)
class MaskFolders:
    """Predicted and true masks by id; open them with `MaskFolders.open`."""

    predictions: dict[str, Path]
    truth: dict[str, Path]
    ids: tuple[str, ...]
    """Of the photos to score."""

    @classmethod
    def open(cls, predictions: Path, truth: Path, *, ids: Path | None = None) -> "MaskFolders":
        """Every PNG of `predictions`, or those that a list names, one id a line.

        Raises `UserError` for a missing folder or list, for ids without a prediction or without a truth, and for
        predictions of another size than their truth: the first of them, and how many there are.
        """
        predicted, true = _masks(predictions, key="predictions"), _masks(truth, key="truth")
        wanted = tuple(sorted(predicted)) if ids is None else _listed(ids)
        if not wanted:
            raise UserError(f"predictions={predictions} holds no PNG: give the folder with the masks themselves")
        _require(wanted, predicted, what=f"predictions={predictions}")
        _require(wanted, true, what=f"truth={truth}")
        _require_sizes([(predicted[photo], true[photo]) for photo in wanted])
        return cls(predicted, true, wanted)

    @property
    def unpredicted(self) -> int:
        """True masks that are not scored, since no list asks for them and nothing was predicted."""
        return len(self.truth.keys() - self.predictions.keys())

    def __call__(self, photo: str) -> tuple[UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"]]:
        """Predicted and true labels, of one size. Raises `UserError` where they cannot be read."""
        return read_mask(self.predictions[photo]), read_mask(self.truth[photo])


def _masks(folder: Path, *, key: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"{key}={folder}: no such folder; give one with a PNG for each photo")
    return files_by_id(folder, (".png",))


def _listed(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise UserError(f"ids={path}: no such file; give a list of ids, one a line")
    ids = tuple(map(id_of_line, read_list(path)))
    if not ids:
        raise UserError(f"ids={path} is empty")
    if len(set(ids)) < len(ids):
        twice = next(photo for photo in ids if ids.count(photo) > 1)
        raise UserError(f"ids={path}: {twice!r} stands there more than once; give each id one line")
    return ids


def _require(wanted: Sequence[str], there: dict[str, Path], *, what: str) -> None:
    missing = [photo for photo in wanted if photo not in there]
    if missing:
        shown = some([f"{photo}.png" for photo in missing], most=_NAMED)
        raise UserError(f"{what}: {len(missing)} of {len(wanted)} masks are missing: {shown}")


def _require_sizes(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Every prediction has its truth's size, by the files' headers."""
    sizes = [(prediction, read_image_size(prediction), read_image_size(true)) for prediction, true in pairs]
    wrong = [f"{path} is {a[0]}x{a[1]}, its truth {b[0]}x{b[1]}" for path, a, b in sizes if a != b]
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise UserError(f"predict at photo size: {'; '.join(wrong[:_NAMED])}{more}")
