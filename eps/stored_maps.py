"""Localization maps of stage 2, a file a photo: made once, found again by whatever they were made from."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from eps import build
from eps.data.artifacts import fingerprint_of, read_scores, write_scores
from eps.data.datasets import read_saliency
from eps.data.images import read_image_size
from eps.data.layout import DatasetFolder
from eps.data.manifest import SCORES, intact, recorded
from eps.data.unfinished import Unfinished
from eps.engine.forms import QuickClassifier
from eps.engine.inference import localize_together
from eps.engine.overlap import ahead
from eps.engine.progress import progress_bar
from eps.memory_demand import demand_for_maps, photos_at_once
from eps.models.classifier import Classifier
from eps.ops.fusion import adjust_shares, fuse_saliency
from eps.schema import Config
from eps.schema.pseudo_masks import SaliencyUse


class _Photo(NamedTuple):
    id: str
    image: Image.Image
    tags: Tensor


def how_mapped(cfg: Config) -> list[str]:
    """What the maps depend on beside photos and classifier."""
    node = cfg.pseudo_masks
    joined = [] if node.saliency is SaliencyUse.none else [node.saliency.value]
    joined += [repr(node.logit_adjustment)] if node.logit_adjustment else []
    return [repr(node.scales), repr(node.flip), *joined, *build.precision_settings(cfg)]


def stored_scores(cfg: Config, maps: str, ids: Sequence[str]) -> dict[str, Path] | None:
    """Scores that an earlier run has kept, if they are of these photos, this classifier, these scales."""
    earlier = cfg.input("pseudo_masks")
    if recorded(earlier).get("maps") != maps or not intact(earlier, under=SCORES):
        return None
    return {photo: earlier / "scores" / f"{photo}.npz" for photo in ids}


def score_files(
    cfg: Config, classifier: str, folder: DatasetFolder, ids: Sequence[str], unfinished: Unfinished
) -> dict[str, Path]:
    """Where each photo's localization maps lie: another place for another photo, tag, classifier or scale."""
    made: dict[str, Path] = {}
    frequency = _tag_frequency(cfg, folder)
    adjusted = [] if frequency is None else [str(frequency.tolist())]
    for photo in ids:
        source = folder.fingerprint([photo], with_saliency=cfg.pseudo_masks.saliency is not SaliencyUse.none)
        key = fingerprint_of(*how_mapped(cfg), classifier, source, *adjusted)
        made[photo] = unfinished.file("scores", photo, key=key, suffix=".npz")
    return made


def write_missing_scores(cfg: Config, model: Classifier, folder: DatasetFolder, files: dict[str, Path]) -> None:
    """Make the maps of the photos whose file is not there. Reading, the network and writing overlap.

    Raises `UserError` where they are estimated to need more memory than there is.
    """
    node = cfg.pseudo_masks
    frequency = _tag_frequency(cfg, folder)
    missing = [photo for photo, path in files.items() if not path.is_file()]
    device = build.accelerator(cfg).device
    demand_for_maps(cfg, model, [folder.photo_path(photo) for photo in missing], device)
    with progress_bar("localization maps", total=len(files), done=len(files) - len(missing)) as advance:
        # of large photos the maps of one are large: no more than one waits
        for photo, scores in ahead(_localized(cfg, model, folder, missing, device), depth=1):
            if frequency is not None:
                scores = adjust_shares(scores, frequency, strength=node.logit_adjustment)
            if node.saliency is SaliencyUse.trusted:
                saliency = read_saliency(folder, photo, size=(scores.shape[1], scores.shape[2]))
                scores = fuse_saliency(scores, saliency)
            write_scores(files[photo], scores.numpy())
            advance(None)


def _tag_frequency(cfg: Config, folder: DatasetFolder) -> Tensor | None:
    """The share of the training photos that carry each tag; None where nobody asks for it."""
    if not cfg.pseudo_masks.logit_adjustment:
        return None
    return torch.stack([torch.from_numpy(folder.tags(photo)).float() for photo in folder.ids(cfg.data.train)]).mean(0)


def maps_of(folder: DatasetFolder, photo: str, path: Path) -> Tensor:
    """Stored maps of a photo. Raises `UserError` where they are broken, of other classes or of another size."""
    width, height = read_image_size(folder.photo_path(photo))
    return torch.from_numpy(read_scores(path, classes=len(folder.classes), size=(height, width)))


def scores_and_saliency(folder: DatasetFolder, files: dict[str, Path]) -> Iterator[tuple[Tensor, Tensor]]:
    """Stored maps and the saliency map of each photo, read ahead."""

    def read() -> Iterator[tuple[Tensor, Tensor]]:
        for photo, path in files.items():
            scores = maps_of(folder, photo, path)
            yield scores, read_saliency(folder, photo, size=(scores.shape[1], scores.shape[2]))

    return ahead(read(), depth=1)


def _localized(
    cfg: Config, model: Classifier, folder: DatasetFolder, ids: Sequence[str], device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """Each photo's maps, in the CPU's memory."""
    if not ids:
        return
    node, quick = cfg.pseudo_masks, QuickClassifier(model.to(device), build.inference_form(cfg))

    def opened() -> Iterator[list[_Photo]]:
        for group in _groups(cfg, model, folder, ids, device):
            yield [_Photo(photo, folder.photo(photo), torch.from_numpy(folder.tags(photo))) for photo in group]

    for photos in ahead(opened()):
        images, tags = [photo.image for photo in photos], [photo.tags for photo in photos]
        maps = localize_together(quick, images, tags, scales=node.scales, flip=node.flip, device=device)
        yield from zip((photo.id for photo in photos), (one.cpu() for one in maps), strict=True)


def _groups(
    cfg: Config, model: Classifier, folder: DatasetFolder, ids: Sequence[str], device: torch.device
) -> Iterator[list[str]]:
    """Photos that the network sees together: of one size, and no more than memory allows."""
    if cfg.runtime.batch == 1 or (not cfg.runtime.batch and device.type == "cpu"):
        yield from ([photo] for photo in ids)
        return
    sizes = {photo: read_image_size(folder.photo_path(photo)) for photo in ids}
    for size, same in groupby(sorted(ids, key=lambda photo: sizes[photo]), key=lambda photo: sizes[photo]):
        most, members = photos_at_once(cfg, model, size, device), list(same)
        yield from (members[start : start + most] for start in range(0, len(members), most))
