"""Photos that cannot be used, found out before anything is trained on a split: what `data.on_error=skip` leaves out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eps.data.checks import checked_files, faults
from eps.data.index import Index, files_signature
from eps.data.layout import DatasetFolder

THREADS = 4
SHOWN = 3
"""Reasons that are told; manifests have all."""


@dataclass(frozen=True)
class Skipping:
    """Looks at every photo of a split, and keeps in `index` what it has seen: the same files are not opened again.

    With `maps` also at saliency maps: broken ones, ones of another size, and missing ones unless all are missing.
    """

    index: Index
    maps: bool = True
    tell: Callable[[str], None] = print

    def __call__(self, folder: DatasetFolder, split: str) -> dict[str, str]:
        """By id why a photo cannot be used, in words that do not tell where the dataset lies."""
        ids = list(dict.fromkeys(folder.listed(split)))
        unusable = folder.faults_of(ids, split)
        readable = [photo for photo in ids if photo not in unusable]
        found = unusable | self._missing_maps(folder, readable)
        left = [photo for photo in readable if photo not in found]
        found |= self._file_faults(folder, split, left)
        skipped = {photo: found[photo].replace(f"{folder.root}/", "") for photo in ids if photo in found}
        if skipped:
            told = "; ".join(list(skipped.values())[:SHOWN]) + ("; ..." if len(skipped) > SHOWN else "")
            self.tell(f"{split}: {len(skipped)} of {len(ids)} photos skipped: {told}")
        return skipped

    def _missing_maps(self, folder: DatasetFolder, ids: Sequence[str]) -> dict[str, str]:
        if not self.maps:
            return {}
        missing = folder.without_saliency(ids)
        without_any = len(missing) == len(ids)
        return {} if without_any else {photo: f"{folder.saliency_path(photo)} is missing" for photo in missing}

    def _file_faults(self, folder: DatasetFolder, split: str, ids: Sequence[str]) -> dict[str, str]:
        stated = repr([folder.sizes.get(photo) for photo in ids])
        signature = files_signature(checked_files(folder, ids, with_saliency=self.maps), *ids, stated)
        what = f"{split}, to skip, saliency maps: {self.maps}"
        found = self.index.skipped(what, signature=signature)
        if found is None:
            seen = zip(ids, faults(folder, ids, with_saliency=self.maps, threads=THREADS), strict=True)
            found = {photo: "; ".join(told) for photo, told in seen if told}
            self.index.record_skipped(what, found, signature=signature)
        return found
