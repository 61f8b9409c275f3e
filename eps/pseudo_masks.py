"""Turn localization maps into pseudo-masks and pseudo-instances (stage 2).

Reads photos, tags, saliency maps (for `pseudo_masks.threshold=auto` and `pseudo_masks.saliency=trusted`) and
`classifier/`; writes `pseudo_masks/`: palette PNGs, instances in COCO's format and a manifest. A run that is stopped
keeps its finished photos in `pseudo_masks.resume/`, from where the next one goes on. With `source=shards:PATTERN` it
labels the photos of tar files in WebDataset's form instead, shard by shard into `pseudo_masks_shards/`: see
docs/SCALING.md.
"""

from functools import partial
from pathlib import Path

import torch

from eps import build, build_data
from eps.cli import entrypoint, started_with
from eps.data.artifacts import (
    LabelledInstance,
    as_plain,
    file_hash,
    fingerprint_of,
    read_mask,
    write_instances,
    write_mask,
)
from eps.data.datasets import read_saliency
from eps.data.layout import DatasetFolder
from eps.data.manifest import CLASSIFIER, Recorder
from eps.data.unfinished import Unfinished, keep
from eps.engine import ranks
from eps.engine.agreement import Agreement, LabelTally, agreement
from eps.engine.checkpoint import load_classifier_for
from eps.engine.overlap import ahead
from eps.engine.progress import announce, progress_bar, remark
from eps.errors import UserError, some
from eps.mask_labels import labelled, needs_threshold
from eps.models.classifier import Classifier
from eps.ops.instances import split_instances
from eps.schema import Config, Result
from eps.schema.pseudo_masks import PseudoMasksConfig, SaliencyUse
from eps.shard_masks import is_over_shards, label_shards_of
from eps.stored_maps import how_mapped, maps_of, score_files, scores_and_saliency, stored_scores, write_missing_scores


def run(cfg: Config) -> Result:
    """Label the training split, and score the labels by agreement with saliency and tags (no truth).

    Several processes label every so many-th photo each, and rank 0 puts them together.
    """
    ranks.join(device=cfg.runtime.device)
    if is_over_shards(cfg):
        return label_shards_of(cfg)
    node = cfg.pseudo_masks
    weights = build.trained(cfg, "classifier")
    folder = build_data.dataset(cfg.data)
    ids = folder.ids(cfg.data.train)
    model = load_classifier_for(weights, folder.classes)
    with_saliency = not folder.without_saliency(ids)
    _check_use_of_maps(node, model, with_saliency=with_saliency)
    classifier = file_hash(weights)
    inputs = folder.fingerprint(ids, with_saliency=with_saliency)
    maps = fingerprint_of(*how_mapped(cfg), classifier, inputs)
    recorder = Recorder(cfg.output("pseudo_masks"), fingerprint=fingerprint_of(node, maps))
    if (earlier := ranks.on_main(recorder.finished)) is not None:
        announce(recorder.folder, earlier, fresh=False)
        return Result(score=earlier, path=recorder.folder)
    unfinished = Unfinished(recorder.folder)
    own = ranks.own(ids)
    stored = ranks.on_main(lambda: stored_scores(cfg, maps, ids))
    if stored is None:
        scores = score_files(cfg, classifier, folder, own, unfinished)
        write_missing_scores(cfg, model, folder, scores)
    else:
        scores = {photo: stored[photo] for photo in own}
    found = _agreement(folder, scores) if with_saliency and needs_threshold(node) else None
    threshold = _threshold(node, found)
    masks = _mask_files(node, folder, threshold, scores, unfinished)
    _write_masks(cfg, folder, scores, masks, threshold)
    all_scores, all_masks = ranks.merged(scores, order=ids), ranks.merged(masks, order=ids)

    def finish() -> float:
        with recorder.writing() as target:
            for photo in ids:
                keep(all_masks[photo], target / "masks" / f"{photo}.png")
                if node.save_scores:
                    keep(all_scores[photo], target / "scores" / f"{photo}.npz")
            tally = _write_instances(node, folder, all_masks, target, with_saliency=with_saliency)
            recorder.record(
                target,
                score=tally.score(),
                config=as_plain(node),
                inputs={"data": inputs, "model" if cfg.model else CLASSIFIER: classifier},
                skipped=folder.skipped(cfg.data.train),
                settings=started_with(),
                classifier=classifier,
                maps=maps,
                threshold=threshold,
                threshold_curve=None if found is None else found.iou,
                counts=tally.counts(),
            )
        unfinished.discard()
        return tally.score()

    score = ranks.on_main(finish)
    announce(recorder.folder, score, fresh=True)
    return Result(score=score, path=recorder.folder)


main = entrypoint(run, many=True)


def _threshold(cfg: PseudoMasksConfig, found: Agreement | None) -> float | None:
    if not needs_threshold(cfg):
        return None
    if not isinstance(cfg.threshold, str):
        return cfg.threshold
    assert found is not None
    return found.threshold()


def _check_use_of_maps(cfg: PseudoMasksConfig, model: Classifier, *, with_saliency: bool) -> None:
    if cfg.threshold == "auto" and needs_threshold(cfg) and not with_saliency:
        raise UserError("pseudo_masks.threshold=auto needs a saliency map for every photo; set a number instead")
    if cfg.logit_adjustment and not model.background:
        raise UserError("pseudo_masks.logit_adjustment: CAM's maps do not share pixels; set it to 0")
    if cfg.saliency is SaliencyUse.none:
        return
    if not model.background:
        raise UserError(f"pseudo_masks.saliency={cfg.saliency}: CAM's maps are no probabilities; set it to none")
    if not with_saliency:
        raise UserError(f"pseudo_masks.saliency={cfg.saliency} needs a saliency map for every photo; set it to none")


def _agreement(folder: DatasetFolder, own: dict[str, Path]) -> Agreement:
    """That of all processes' photos."""
    found = ranks.gathered(agreement(scores_and_saliency(folder, own)))
    return Agreement(*(torch.stack(counts).sum(dim=0) for counts in zip(*found, strict=True)))


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
        key = fingerprint_of(*map(str, settings), *sources)
        made[photo] = unfinished.file("masks", photo, key=key, suffix=".png")
    return made


def _write_masks(
    cfg: Config,
    folder: DatasetFolder,
    scores: dict[str, Path],
    masks: dict[str, Path],
    threshold: float | None,
) -> None:
    """Reading and labelling overlap with writing."""
    missing = [photo for photo, path in masks.items() if not path.is_file()]
    mapped = ((partial(folder.photo, photo), maps_of(folder, photo, scores[photo])) for photo in missing)
    made = labelled(cfg.pseudo_masks, mapped, threshold=threshold, device=build.accelerator(cfg).device)
    with progress_bar("pseudo-masks", total=len(masks), done=len(masks) - len(missing)) as advance:
        for photo, labels in zip(missing, ahead(made), strict=True):
            write_mask(masks[photo], labels.numpy())
            advance(None)


def _write_instances(
    cfg: PseudoMasksConfig, folder: DatasetFolder, masks: dict[str, Path], target: Path, *, with_saliency: bool
) -> LabelTally:
    tally = LabelTally()
    instances: dict[str, list[LabelledInstance]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    empty: list[str] = []
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
        if tags.any() and not labels.any():
            empty.append(photo)
    if empty:
        advice = "lower pseudo_masks.threshold, or look at their saliency maps"
        remark(f"{len(empty)} of {len(masks)} photos have tags and an empty mask ({advice}): {some(empty, most=5)}")
    write_instances(target / "instances.json", instances, sizes=sizes, classes=folder.classes)
    return tally


if __name__ == "__main__":
    main()
