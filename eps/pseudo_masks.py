"""Turn localization maps into pseudo-masks and pseudo-instances (stage 2).

Reads photos, tags, saliency maps (for `pseudo_masks.threshold=auto`) and `classifier/`; writes `pseudo_masks/`: palette
PNGs, instances in COCO's format and a manifest.
"""

import shutil
from collections.abc import Iterator, Sequence
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
    read_scores,
    write_instances,
    write_mask,
    write_scores,
)
from eps.data.datasets import read_saliency
from eps.data.layout import DatasetFolder
from eps.data.manifest import SCORES, Recorder, intact, recorded
from eps.engine.agreement import Agreement, LabelTally, agreement
from eps.engine.checkpoint import load_classifier
from eps.engine.inference import localize
from eps.engine.progress import announce, progress_bar
from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.ops.crf import dense_crf
from eps.ops.instances import split_instances
from eps.ops.pseudo_labels import constant_background, label_map, most_probable
from eps.schema import Config, CRFBackend, PseudoMasksConfig, Result


def run(cfg: Config) -> Result:
    """Label the training split, and score the labels by agreement with saliency and tags (no truth)."""
    weights = cfg.input("classifier") / "model.safetensors"
    folder = build.dataset(cfg.data)
    ids = folder.ids(cfg.data.train)
    model, spec = load_classifier(weights)
    if spec.classes != folder.classes:
        raise UserError(f"{weights} knows the classes {list(spec.classes)}, {folder.root} has {list(folder.classes)}")
    node = cfg.pseudo_masks
    with_saliency = all(folder.saliency_path(photo).is_file() for photo in ids)
    classifier = file_hash(weights)
    inputs = folder.fingerprint(ids, with_saliency=with_saliency)
    maps = build.fingerprint(repr(node.scales), repr(node.flip), classifier, inputs)
    recorder = Recorder(cfg.output("pseudo_masks"), fingerprint=build.fingerprint(node, maps))
    if (earlier := recorder.finished()) is not None:
        announce(recorder.folder, earlier, fresh=False)
        return Result(score=earlier, path=recorder.folder)
    accelerator = build.accelerator(cfg)
    with recorder.writing() as target:
        scores = _stored_scores(cfg, maps)
        if scores is None:
            scores = target / "scores"
            _write_scores(node, model.to(accelerator.device), folder, ids, scores, accelerator.device)
        elif node.save_scores:
            shutil.copytree(scores, target / "scores")
        found = agreement(_scores_and_saliency(folder, ids, scores)) if with_saliency else None
        threshold = _threshold(node, found)
        tally = _label(node, folder, ids, target, scores, threshold, with_saliency=with_saliency)
        if not node.save_scores:
            shutil.rmtree(target / "scores", ignore_errors=True)
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
    announce(recorder.folder, tally.score(), fresh=True)
    return Result(score=tally.score(), path=recorder.folder)


main = entrypoint(run)


def _stored_scores(cfg: Config, maps: str) -> Path | None:
    """Scores that an earlier run has kept, if they are of these photos, this classifier, these scales."""
    earlier = cfg.input("pseudo_masks")
    stored = earlier / "scores"
    return stored if recorded(earlier).get("maps") == maps and intact(earlier, under=SCORES) else None


def _write_scores(
    cfg: PseudoMasksConfig,
    model: Classifier,
    folder: DatasetFolder,
    ids: Sequence[str],
    scores_folder: Path,
    device: torch.device,
) -> None:
    with progress_bar("localization maps", total=len(ids)) as advance:
        for photo in ids:
            tags = torch.from_numpy(folder.tags(photo)).to(device)
            scores = localize(model, folder.photo(photo), tags, scales=cfg.scales, flip=cfg.flip)
            write_scores(scores_folder / f"{photo}.npz", scores.cpu().numpy())
            advance(None)


def _scores_and_saliency(
    folder: DatasetFolder, ids: Sequence[str], scores_folder: Path
) -> Iterator[tuple[Tensor, Tensor]]:
    for photo in ids:
        scores = torch.from_numpy(read_scores(scores_folder / f"{photo}.npz"))
        yield scores, read_saliency(folder, photo, size=(scores.shape[1], scores.shape[2]))


def _threshold(cfg: PseudoMasksConfig, found: Agreement | None) -> float:
    if not isinstance(cfg.threshold, str):
        return cfg.threshold
    if found is None:
        raise UserError("pseudo_masks.threshold=auto needs a saliency map for every photo; set a number instead")
    return found.threshold()


def _label(
    cfg: PseudoMasksConfig,
    folder: DatasetFolder,
    ids: Sequence[str],
    target: Path,
    scores_folder: Path,
    threshold: float,
    *,
    with_saliency: bool,
) -> LabelTally:
    tally = LabelTally()
    instances: dict[str, list[LabelledInstance]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    with progress_bar("pseudo-masks", total=len(ids)) as advance:
        for photo in ids:
            scores = torch.from_numpy(read_scores(scores_folder / f"{photo}.npz"))
            labels = _label_photo(cfg, folder, photo, scores, threshold)
            write_mask(target / "masks" / f"{photo}.png", labels.numpy())
            instances[photo] = [
                LabelledInstance(class_index=i.class_index, mask=i.mask, uncertain=i.uncertain)
                for i in split_instances(labels.numpy(), min_area=cfg.min_area)
            ]
            sizes[photo] = (labels.shape[0], labels.shape[1])
            saliency = read_saliency(folder, photo, size=sizes[photo]) if with_saliency else None
            uncertain = sum(instance.uncertain for instance in instances[photo])
            tags = torch.from_numpy(folder.tags(photo))
            tally.add(labels, saliency, tags, instances=len(instances[photo]), uncertain=uncertain)
            advance(None)
    write_instances(target / "instances.json", instances, sizes=sizes, classes=folder.classes)
    return tally


def _label_photo(
    cfg: PseudoMasksConfig, folder: DatasetFolder, photo: str, scores: Float[Tensor, "c H W"], threshold: float
) -> UInt8[Tensor, "H W"]:
    present = torch.from_numpy(folder.tags(photo))
    if cfg.crf is CRFBackend.none or not present.any():
        return label_map(scores, threshold=threshold, ignore_band=cfg.ignore_band)
    refined = dense_crf(
        np.asarray(folder.photo(photo)),
        constant_background(scores[present], threshold=threshold),
        iterations=cfg.crf_parameters.iterations,
        gaussian_sxy=cfg.crf_parameters.gaussian_sxy,
        gaussian_compat=cfg.crf_parameters.gaussian_compat,
        bilateral_sxy=cfg.crf_parameters.bilateral_sxy,
        bilateral_srgb=cfg.crf_parameters.bilateral_srgb,
        bilateral_compat=cfg.crf_parameters.bilateral_compat,
    )
    return most_probable(refined, classes=present.nonzero()[:, 0], ignore_band=cfg.ignore_band)


if __name__ == "__main__":
    main()
