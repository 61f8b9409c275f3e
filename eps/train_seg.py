"""Train the YOLACT-style segmenter on pseudo-masks, or on true masks for the upper bound (stage 3).

Reads photos, `pseudo_masks/` and, for its start, `classifier/`; writes `segmenter/`: weights, loss history, manifest.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops import masks_to_boxes

from eps import build
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, file_hash
from eps.data.datasets import InstanceDataset, read_saliency
from eps.data.layout import DatasetFolder
from eps.data.loading import load_batches
from eps.data.manifest import Recorder
from eps.data.mask_sources import PseudoMasks
from eps.data.samples import MaskSource, PhotoInstances
from eps.data.sampling import TrainingDraws
from eps.data.truth import Truth
from eps.engine.agreement import LabelTally
from eps.engine.checkpoint import load_classifier, save_model
from eps.engine.loop import Losses
from eps.engine.predictor import Predictor
from eps.engine.progress import announce
from eps.errors import UserError
from eps.losses.masks import semantic_cross_entropy
from eps.losses.multibox import Targets, multibox_loss
from eps.models.segmenter import Segmenter, SegmenterOutput
from eps.ops.pseudo_labels import IGNORE
from eps.schema import Config, Result, SegmenterConfig, Supervision

PHOTOS_FOR_SCORE = 50
MIN_AREA = 16
"""Pixels that a crop must leave of an instance."""


def run(cfg: Config) -> Result:
    """Train, write `segmenter/`, and score by agreement with saliency and tags (no truth)."""
    folder = build.dataset(cfg.data)
    ids = folder.ids(cfg.data.train)
    masks = _mask_source(cfg, folder)
    inputs = [cfg.runtime.precision.value, str(cfg.seed), *_inputs(cfg, folder, ids, masks)]
    trained = replace(cfg.segmenter, score_threshold=0.0, nms_iou=0.0, max_detections=0)  # these are prediction's
    fingerprint = build.fingerprint(cfg.trunk, trained, *inputs)
    recorder = Recorder(cfg.output("segmenter"), fingerprint=fingerprint)
    if (earlier := recorder.finished()) is not None:
        announce(recorder.folder, earlier, fresh=False)
        return Result(score=earlier, path=recorder.folder)
    accelerator = build.accelerator(cfg)
    model, spec = build.segmenter(cfg, folder.classes)
    if cfg.segmenter.warm_start:
        _warm_start(model, cfg, folder.classes)
    history = build.fit(
        cfg,
        cfg.segmenter,
        recorder,
        accelerator,
        model,
        last=[*model.extra.parameters(), *model.box_head.parameters()],
        criterion=partial(_criterion, cfg.segmenter, model.normalize),
        batches=partial(_batches, cfg, folder, ids, masks),
        label=f"segmenter ({cfg.segmenter.supervision})",
    )
    predictor = Predictor(model=model, spec=spec, device=accelerator.device)
    score = _score(predictor, folder, ids[:PHOTOS_FOR_SCORE])
    with recorder.writing() as target:
        save_model(target / "model.safetensors", model, spec)
        recorder.record(target, score=score, config=as_plain(cfg.segmenter), history=history)
    announce(recorder.folder, score, fresh=True)
    return Result(score=score, path=recorder.folder)


main = entrypoint(run)


def _mask_source(cfg: Config, folder: DatasetFolder) -> Truth | PseudoMasks:
    if cfg.segmenter.supervision is Supervision.truth:
        return Truth(folder.root)
    return PseudoMasks(cfg.input("pseudo_masks"))


def _inputs(cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: Truth | PseudoMasks) -> list[str]:
    """What training depends on beside its config, each as a hash."""
    inputs = [folder.fingerprint(ids, with_saliency=False), masks.fingerprint(ids)]
    if cfg.segmenter.warm_start:
        path = cfg.input("classifier") / "model.safetensors"
        inputs.append(file_hash(path) if path.is_file() else "")
    return inputs


def _warm_start(model: Segmenter, cfg: Config, classes: tuple[str, ...]) -> None:
    """Trunk (backbone, pyramid, prototype head) and class coefficients go on from stage 1's."""
    path = cfg.input("classifier") / "model.safetensors"
    classifier, spec = load_classifier(path)
    way_out = "or set segmenter.warm_start=false"
    if not spec.background:
        raise UserError(f"{path} is a CAM classifier: train one with classifier=eps, {way_out}")
    if spec.classes != classes:
        raise UserError(f"{path} knows the classes {list(spec.classes)}, the dataset has {list(classes)}")
    try:
        model.trunk.load_state_dict(classifier.trunk.state_dict())
    except RuntimeError as error:
        raise UserError(f"{path} has another trunk than this config: train with the same trunk=, {way_out}") from error
    with torch.no_grad():
        model.coefficients.copy_(classifier.coefficients)


def _batches(
    cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: MaskSource, start: int
) -> Iterable[list[PhotoInstances]]:
    node = cfg.segmenter
    transform = build.transform(node.augment, mean=cfg.trunk.mean)
    return load_batches(
        InstanceDataset(folder=folder, ids=ids, masks=masks, transform=transform, min_area=MIN_AREA, paste=node.paste),
        TrainingDraws(photos=len(ids), batch=node.batch, steps=node.steps, seed=cfg.seed, start=start),
        join=list,
        workers=cfg.runtime.workers,
    )


def _criterion(
    cfg: SegmenterConfig,
    normalize: Callable[[Tensor], Tensor],
    model: nn.Module,
    batch: Sequence[PhotoInstances],
    step: int,
) -> Losses:
    photos = torch.stack([sample.photo for sample in batch])
    output: SegmenterOutput = model(normalize(photos))
    instances = multibox_loss(
        output.offsets,
        output.logits,
        output.coefficients,
        output.prototypes,
        output.anchors,
        [_targets(sample) for sample in batch],
        generator=torch.Generator().manual_seed(step),
        box_weight=cfg.box_weight,
        classification_weight=cfg.class_weight,
        mask_weight=cfg.mask_weight,
    )
    labels = torch.stack([sample.semantic for sample in batch])
    terms = {
        "box": instances.box,
        "class": instances.classification,
        "mask": instances.mask,
        "semantic": cfg.semantic_weight * semantic_cross_entropy(output.semantic, labels),
    }
    return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)


def _targets(sample: PhotoInstances) -> Targets:
    height, width = sample.semantic.shape
    edges = sample.photo.new_tensor([width, height, width, height])
    # masks_to_boxes gives the last pixel; a box ends at that pixel's far edge
    corners = masks_to_boxes(sample.masks) + sample.photo.new_tensor([0, 0, 1, 1])
    return Targets(
        boxes=corners / edges,
        classes=sample.classes,
        masks=sample.masks,
        crowd=sample.uncertain,
        ignore=sample.semantic == IGNORE,
    )


def _score(predictor: Predictor, folder: DatasetFolder, ids: Sequence[str]) -> float:
    """Agreement of the semantic maps of some training photos with saliency, where there is any, and tags."""
    tally = LabelTally()
    for photo in ids:
        image = folder.photo(photo)
        found, labels = predictor.predict_all(image)
        known = folder.saliency_path(photo).is_file()
        saliency = read_saliency(folder, photo, size=(image.height, image.width)) if known else None
        tags = torch.from_numpy(folder.tags(photo))
        tally.add(labels.cpu(), saliency, tags, instances=len(found.scores), uncertain=0)
    return tally.score()


if __name__ == "__main__":
    main()
