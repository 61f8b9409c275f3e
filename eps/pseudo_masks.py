"""Turn localization maps into pseudo-masks and pseudo-instances (stage 2).

Reads photos, tags, saliency maps (for `pseudo_masks.threshold=auto`) and `classifier/`; writes `pseudo_masks/`: palette
PNGs, instances in COCO's format and a manifest. A run that is stopped keeps its finished photos in
`pseudo_masks.resume/`, from where the next one goes on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from eps import build
from eps.cli import entrypoint
from eps.data.artifacts import (
    LabelledInstance,
    as_plain,
    file_hash,
    read_mask,
    read_scores,
    write_instances,
    write_mask,
    write_scores,
)
from eps.data.datasets import read_saliency
from eps.data.layout import DatasetFolder
from eps.data.manifest import SCORES, Recorder, intact, recorded
from eps.data.unfinished import Unfinished, keep
from eps.engine.agreement import Agreement, LabelTally, agreement
from eps.engine.checkpoint import load_classifier_for
from eps.engine.inference import localize
from eps.engine.progress import announce, progress_bar
from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.ops.crf import dense_crf
from eps.ops.instances import split_instances
from eps.ops.pseudo_labels import alpha_background, constant_background, label_map, most_probable
from eps.schema import Config, CRFBackend, CRFBackground, PseudoMasksConfig, Result


def run(cfg: Config) -> Result:
    """Label the training split, and score the labels by agreement with saliency and tags (no truth)."""
    node = cfg.pseudo_masks
    weights = _weights(cfg)
    folder = build.dataset(cfg.data)
    ids = folder.ids(cfg.data.train)
    model = load_classifier_for(weights, folder.classes)
    with_saliency = all(folder.saliency_path(photo).is_file() for photo in ids)
    if node.threshold == "auto" and not (with_saliency or _without_threshold(node)):
        raise UserError("pseudo_masks.threshold=auto needs a saliency map for every photo; set a number instead")
    classifier = file_hash(weights)
    inputs = folder.fingerprint(ids, with_saliency=with_saliency)
    maps = build.fingerprint(repr(node.scales), repr(node.flip), classifier, inputs)
    recorder = Recorder(cfg.output("pseudo_masks"), fingerprint=build.fingerprint(replace(node, checkpoint=""), maps))
    if (earlier := recorder.finished()) is not None:
        announce(recorder.folder, earlier, fresh=False)
        return Result(score=earlier, path=recorder.folder)
    unfinished = Unfinished(recorder.folder)
    scores = _stored_scores(cfg, maps, ids)
    if scores is None:
        scores = _score_files(node, classifier, folder, ids, unfinished)
        _write_scores(node, model, folder, scores, build.accelerator(cfg).device)
    found = agreement(_scores_and_saliency(folder, scores)) if _needs_agreement(node, with_saliency) else None
    threshold = _threshold(node, found)
    masks = _mask_files(node, folder, threshold, scores, unfinished)
    _write_masks(node, folder, scores, masks, threshold)
    with recorder.writing() as target:
        for photo in ids:
            keep(masks[photo], target / "masks" / f"{photo}.png")
            if node.save_scores:
                keep(scores[photo], target / "scores" / f"{photo}.npz")
        tally = _write_instances(node, folder, masks, target, with_saliency=with_saliency)
        recorder.record(
            target,
            score=tally.score(),
            config=as_plain(node),
            classifier=classifier,
            maps=maps,
            threshold=threshold,
            threshold_curve=None if found is None else found.iou,
            counts=tally.counts(),
        )
    unfinished.discard()
    announce(recorder.folder, tally.score(), fresh=True)
    return Result(score=tally.score(), path=recorder.folder)


main = entrypoint(run)


def refined_labels(
    cfg: PseudoMasksConfig,
    photo: UInt8[np.ndarray, "H W 3"],
    scores: Float[Tensor, "c H W"],
    *,
    threshold: float | None,
) -> UInt8[Tensor, "H W"]:
    """Labels (class + 1, 0, 255) after the CRF that the config chooses; one with alpha needs no threshold.

    `scores` are zero for absent classes, which the CRF leaves out; one class or more must be there.
    """
    present = scores.flatten(1).any(dim=1).nonzero()[:, 0]
    if cfg.crf_background is CRFBackground.alpha:
        planes = alpha_background(scores[present], alpha=cfg.crf_alpha)
    else:
        assert threshold is not None
        planes = constant_background(scores[present], threshold=threshold)
    refined = dense_crf(photo, planes, **asdict(cfg.crf_parameters))
    return most_probable(refined, classes=present, ignore_band=cfg.ignore_band)


def _weights(cfg: Config) -> Path:
    """The classifier's file: that of the run, or of the folder or file that the config names."""
    place = Path(cfg.pseudo_masks.checkpoint or cfg.input("classifier"))
    return place if place.is_file() else place / "model.safetensors"


def _without_threshold(cfg: PseudoMasksConfig) -> bool:
    return cfg.crf is not CRFBackend.none and cfg.crf_background is CRFBackground.alpha


def _needs_agreement(cfg: PseudoMasksConfig, with_saliency: bool) -> bool:
    return with_saliency and not _without_threshold(cfg)


def _threshold(cfg: PseudoMasksConfig, found: Agreement | None) -> float | None:
    if _without_threshold(cfg):
        return None
    if not isinstance(cfg.threshold, str):
        return cfg.threshold
    assert found is not None
    return found.threshold()


def _stored_scores(cfg: Config, maps: str, ids: Sequence[str]) -> dict[str, Path] | None:
    """Scores that an earlier run has kept, if they are of these photos, this classifier, these scales."""
    earlier = cfg.input("pseudo_masks")
    if recorded(earlier).get("maps") != maps or not intact(earlier, under=SCORES):
        return None
    return {photo: earlier / "scores" / f"{photo}.npz" for photo in ids}


def _score_files(
    cfg: PseudoMasksConfig, classifier: str, folder: DatasetFolder, ids: Sequence[str], unfinished: Unfinished
) -> dict[str, Path]:
    """Where each photo's localization maps lie: another place for another photo, tag, classifier or scale."""
    made: dict[str, Path] = {}
    for photo in ids:
        source = folder.fingerprint([photo], with_saliency=False)
        key = build.fingerprint(repr(cfg.scales), repr(cfg.flip), classifier, source)
        made[photo] = unfinished.file("scores", photo, key=key, suffix=".npz")
    return made


def _write_scores(
    cfg: PseudoMasksConfig,
    model: Classifier,
    folder: DatasetFolder,
    files: dict[str, Path],
    device: torch.device,
) -> None:
    missing = [photo for photo, path in files.items() if not path.is_file()]
    model.to(device)
    with progress_bar("localization maps", total=len(files), done=len(files) - len(missing)) as advance:
        for photo in missing:
            tags = torch.from_numpy(folder.tags(photo)).to(device)
            scores = localize(model, folder.photo(photo), tags, scales=cfg.scales, flip=cfg.flip)
            write_scores(files[photo], scores.cpu().numpy())
            advance(None)


def _scores_and_saliency(folder: DatasetFolder, files: dict[str, Path]) -> Iterator[tuple[Tensor, Tensor]]:
    for photo, path in files.items():
        scores = torch.from_numpy(read_scores(path))
        yield scores, read_saliency(folder, photo, size=(scores.shape[1], scores.shape[2]))


def _mask_files(
    cfg: PseudoMasksConfig,
    folder: DatasetFolder,
    threshold: float | None,
    scores: dict[str, Path],
    unfinished: Unfinished,
) -> dict[str, Path]:
    """Where each photo's mask lies: another place for another photo, other scores, another way to label."""
    settings = (cfg.crf, cfg.crf_background, cfg.crf_alpha, cfg.crf_parameters, cfg.ignore_band, threshold)
    made: dict[str, Path] = {}
    for photo, path in scores.items():
        sources = (file_hash(folder.photo_path(photo)), file_hash(path))
        key = build.fingerprint(*map(str, settings), *sources)
        made[photo] = unfinished.file("masks", photo, key=key, suffix=".png")
    return made


def _write_masks(
    cfg: PseudoMasksConfig,
    folder: DatasetFolder,
    scores: dict[str, Path],
    masks: dict[str, Path],
    threshold: float | None,
) -> None:
    missing = [photo for photo, path in masks.items() if not path.is_file()]
    with progress_bar("pseudo-masks", total=len(masks), done=len(masks) - len(missing)) as advance:
        for photo in missing:
            maps = torch.from_numpy(read_scores(scores[photo]))
            write_mask(masks[photo], _labels(cfg, folder, photo, maps, threshold).numpy())
            advance(None)


def _labels(
    cfg: PseudoMasksConfig, folder: DatasetFolder, photo: str, scores: Float[Tensor, "c H W"], threshold: float | None
) -> UInt8[Tensor, "H W"]:
    if not scores.any():  # it has no tag: background, whatever refines the others
        return torch.zeros(scores.shape[1:], dtype=torch.uint8)
    if cfg.crf is CRFBackend.none:
        assert threshold is not None
        return label_map(scores, threshold=threshold, ignore_band=cfg.ignore_band)
    return refined_labels(cfg, np.asarray(folder.photo(photo)), scores, threshold=threshold)


def _write_instances(
    cfg: PseudoMasksConfig, folder: DatasetFolder, masks: dict[str, Path], target: Path, *, with_saliency: bool
) -> LabelTally:
    tally = LabelTally()
    instances: dict[str, list[LabelledInstance]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for photo, path in masks.items():
        labels = read_mask(path)
        instances[photo] = [
            LabelledInstance(class_index=i.class_index, mask=i.mask, uncertain=i.uncertain)
            for i in split_instances(labels, min_area=cfg.min_area)
        ]
        sizes[photo] = (labels.shape[0], labels.shape[1])
        saliency = read_saliency(folder, photo, size=sizes[photo]) if with_saliency else None
        uncertain = sum(instance.uncertain for instance in instances[photo])
        tags = torch.from_numpy(folder.tags(photo))
        tally.add(torch.from_numpy(labels), saliency, tags, instances=len(instances[photo]), uncertain=uncertain)
    write_instances(target / "instances.json", instances, sizes=sizes, classes=folder.classes)
    return tally


if __name__ == "__main__":
    main()
