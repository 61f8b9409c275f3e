"""Train a segmenter, YOLACT or DeepLab, on pseudo-masks, or on true masks for the upper bound (stage 3).

Reads photos, `pseudo_masks/` and, for YOLACT's start, `classifier/`; writes `segmenter/`: weights, loss history,
manifest.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from eps import build
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, file_hash
from eps.data.datasets import InstanceDataset, SemanticDataset, join_labelled, read_saliency
from eps.data.layout import DatasetFolder
from eps.data.loading import load_batches
from eps.data.manifest import Recorder
from eps.data.mask_sources import PseudoMasks
from eps.data.samples import MaskSource
from eps.data.sampling import TrainingDraws
from eps.data.truth import Truth
from eps.engine.agreement import LabelTally
from eps.engine.checkpoint import load_classifier, save_model
from eps.engine.criteria import instance_losses, semantic_losses
from eps.engine.loop import Losses
from eps.engine.predictor import Predictor
from eps.engine.progress import announce
from eps.errors import UserError
from eps.models.deeplab import DeepLab
from eps.models.segmenter import Segmenter
from eps.models.spec import DeepLabSpec, SegmenterSpec
from eps.schema import Config, Result, SegmenterKind, Supervision

PHOTOS_FOR_SCORE = 50
MIN_AREA = 16
"""Pixels that a crop must leave of an instance."""
TEST = ("score_threshold", "nms_iou", "max_detections", "cross_class", "test_scales", "test_flip")
"""Settings of prediction: training does not depend on them."""


class _Task(NamedTuple):
    """A segmenter of either kind with what it is trained by."""

    model: Segmenter | DeepLab
    spec: SegmenterSpec | DeepLabSpec
    last: Sequence[nn.Parameter]
    """What starts from nothing and learns at the last layers' rate."""
    dataset: InstanceDataset | SemanticDataset
    join: Callable[[list[Any]], Any]
    criterion: Callable[[nn.Module, Any, int], Losses]


def run(cfg: Config) -> Result:
    """Train, write `segmenter/`, and score by agreement with saliency and tags (no truth)."""
    cfg = replace(cfg, segmenter=build.scaled_with_batch(cfg.segmenter))
    folder = build.dataset(cfg.data)
    ids = folder.ids(cfg.data.train)
    masks = _mask_source(cfg, folder)
    fingerprint = build.fingerprint(*_settings(cfg), *_inputs(cfg, folder, ids, masks))
    recorder = Recorder(cfg.output("segmenter"), fingerprint=fingerprint)
    if (earlier := recorder.finished()) is not None:
        announce(recorder.folder, earlier, fresh=False)
        return Result(score=earlier, path=recorder.folder)
    accelerator = build.accelerator(cfg)
    make = _deeplab if _is_deeplab(cfg) else _yolact
    task = make(cfg, folder, ids, masks)
    history = build.fit(
        cfg,
        cfg.segmenter,
        recorder,
        accelerator,
        task.model,
        last=task.last,
        criterion=task.criterion,
        batches=partial(_batches, cfg, task, len(ids)),
        photos=task.dataset.sources,
        size=len(ids),
        label=f"{'DeepLab' if _is_deeplab(cfg) else 'segmenter'} ({cfg.segmenter.supervision})",
    )
    predictor = Predictor(model=task.model, spec=task.spec, device=accelerator.device)
    score = _score(predictor, folder, ids[:PHOTOS_FOR_SCORE])
    with recorder.writing() as target:
        save_model(target / "model.safetensors", task.model, task.spec)
        recorder.record(target, score=score, config=as_plain(cfg.segmenter), history=history)
    announce(recorder.folder, score, fresh=True)
    return Result(score=score, path=recorder.folder)


main = entrypoint(run)


def _mask_source(cfg: Config, folder: DatasetFolder) -> Truth | PseudoMasks:
    if cfg.segmenter.supervision is Supervision.truth:
        return build.truth(cfg.data)
    return PseudoMasks(cfg.input("pseudo_masks"))


def _is_deeplab(cfg: Config) -> bool:
    return cfg.segmenter.kind is SegmenterKind.deeplab


def _settings(cfg: Config) -> list[Any]:
    """What training depends on in its config: nothing that is prediction's, or the other kind's."""
    node = as_plain(cfg.segmenter)
    deeplab = node.pop("deeplab")
    common = [cfg.runtime.precision.value, str(cfg.seed)]
    if _is_deeplab(cfg):
        trained = {key: node[key] for key in ("kind", "supervision", "steps", "batch", "optim", "augment")}
        return [repr(trained), repr({key: value for key, value in deeplab.items() if key not in TEST}), *common]
    return [cfg.trunk, repr({key: value for key, value in node.items() if key not in TEST}), *common]


def _inputs(cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: Truth | PseudoMasks) -> list[str]:
    """What training depends on beside its config, each as a hash."""
    inputs = [folder.fingerprint(ids, with_saliency=False), masks.fingerprint(ids)]
    if cfg.segmenter.warm_start:
        path = cfg.input("classifier") / "model.safetensors"
        inputs.append(file_hash(path) if path.is_file() else "")
    _, _, released = cfg.segmenter.weights.partition("released:")
    if released and Path(released).is_file():
        inputs.append(file_hash(Path(released)))
    return inputs


def _yolact(cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: MaskSource) -> _Task:
    node = cfg.segmenter
    model, spec = build.segmenter(cfg, folder.classes)
    if node.warm_start:
        _warm_start(model, cfg, folder.classes)
    transform = build.instance_transform(node, mean=cfg.trunk.mean)
    return _Task(
        model=model,
        spec=spec,
        last=[p for name, part in model.named_children() if name != "trunk" for p in part.parameters()],
        dataset=InstanceDataset(
            folder=folder,
            ids=ids,
            masks=masks,
            transform=transform,
            min_area=MIN_AREA,
            min_side=node.augment.min_side,
            paste=node.paste,
        ),
        join=list,
        criterion=partial(
            instance_losses,
            normalize=model.normalize,
            box_weight=node.box_weight,
            class_weight=node.class_weight,
            mask_weight=node.mask_weight,
            semantic_weight=node.semantic_weight,
            mask_iou_weight=node.mask_iou_weight,
            masks_per_image=node.masks_per_image,
            mask_scorer=model.mask_iou,
            sigmoid_maps=spec.design == "released",
        ),
    )


def _deeplab(cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: MaskSource) -> _Task:
    model, spec = build.deeplab(cfg, folder.classes)
    transform = build.semantic_transform(cfg.segmenter, mean=spec.mean)
    return _Task(
        model=model,
        spec=spec,
        last=list(model.head.parameters()),
        dataset=SemanticDataset(folder=folder, ids=ids, masks=masks, transform=transform),
        join=join_labelled,
        criterion=partial(semantic_losses, normalize=model.normalize),
    )


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
    if model.coefficients is not None:
        with torch.no_grad():
            model.coefficients.copy_(classifier.coefficients)


def _batches(cfg: Config, task: _Task, photos: int, start: int) -> Iterable[Any]:
    node = cfg.segmenter
    draws = TrainingDraws(photos=photos, batch=node.batch, steps=node.steps, seed=cfg.seed, start=start)
    return load_batches(task.dataset, draws, join=task.join, workers=cfg.runtime.workers)


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
