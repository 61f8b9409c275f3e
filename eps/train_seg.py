"""Train a segmenter, YOLACT or DeepLab, on pseudo-masks, or on true masks for the upper bound (stage 3).

Reads photos, `pseudo_masks/` and, for YOLACT's start, `classifier/`; writes `segmenter/`: weights, loss history,
manifest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eps import build, build_data, build_training
from eps.checkpoints.yolact_specs import SPECS
from eps.cli import entrypoint
from eps.data.artifacts import as_plain, file_hash, fingerprint_of
from eps.data.datasets import InstanceDataset, SemanticDataset, join_labelled, read_saliency
from eps.data.exclusion import read_exclusion
from eps.data.layout import DatasetFolder
from eps.data.loading import load_batches
from eps.data.manifest import CLASSIFIER, Recorder, contents_hash
from eps.data.mask_sources import PseudoMasks
from eps.data.samples import MaskSource
from eps.data.truth import Truth
from eps.engine import ranks
from eps.engine.agreement import LabelTally
from eps.engine.checkpoint import load_classifier, save_model
from eps.engine.criteria import instance_counts, instance_losses, semantic_counts, semantic_losses
from eps.engine.descent import Losses
from eps.engine.predictor import Predictor
from eps.engine.progress import announce, remark
from eps.errors import UserError
from eps.models.deeplab import DeepLab
from eps.models.segmenter import Segmenter
from eps.models.spec import DeepLabSpec, SegmenterSpec
from eps.schema import Config, Result
from eps.schema.segmenter import SegmenterKind, Supervision

PHOTOS_FOR_SCORE = 50
MIN_AREA = 16
"""Pixels that a crop must leave of a pseudo-instance; of a true one `augment.min_side` alone decides."""
MIN_MASK_SIDE = 1.0
"""Prototype pixels that a box counts as at least, where our own design's masks are learnt."""
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
    counts: Callable[[Any], Tensor]
    """What the criterion divides by, beside photos."""


def run(cfg: Config) -> Result:
    """Train, write `segmenter/`, and score by agreement with saliency and tags (no truth)."""
    ranks.join(device=cfg.runtime.device)
    cfg = replace(cfg, segmenter=build.remaining(build.scaled_with_batch(cfg.segmenter)))
    folder = build_data.dataset(cfg.data)
    excluded = _excluded(cfg, folder)
    ids = [photo for photo in folder.ids(cfg.data.train) if photo not in excluded]
    masks = _mask_source(cfg, folder)
    inputs = _inputs(cfg, folder, ids, masks)
    fingerprint = fingerprint_of(*_settings(cfg), *inputs.values())
    recorder = Recorder(cfg.output("segmenter"), fingerprint=fingerprint)
    if (earlier := ranks.on_main(recorder.finished)) is not None:
        announce(recorder.folder, earlier, fresh=False)
        return Result(score=earlier, path=recorder.folder)
    accelerator = build.accelerator(cfg)
    make = _deeplab if _is_deeplab(cfg) else _yolact
    task = make(cfg, folder, ids, masks)
    history = build_training.fit(
        cfg,
        cfg.segmenter,
        recorder,
        accelerator,
        task.model,
        last=task.last,
        criterion=task.criterion,
        count=task.counts,
        batches=partial(_batches, cfg, task, len(ids)),
        photos=task.dataset.sources,
        size=len(ids),
        label=f"{'DeepLab' if _is_deeplab(cfg) else 'segmenter'} ({cfg.segmenter.supervision})",
    )

    def finish() -> float:
        predictor = Predictor(model=task.model, spec=task.spec, device=accelerator.device)
        score = _score(predictor, folder, ids[:PHOTOS_FOR_SCORE])
        with recorder.writing() as target:
            save_model(target / "model.safetensors", task.model, task.spec)
            recorder.record(
                target,
                score=score,
                config=as_plain(cfg.segmenter),
                inputs=inputs | _artifact(masks),
                skipped=folder.skipped(cfg.data.train),
                excluded=len(excluded),
                **build.recipe(cfg),
                history=history,
            )
        return score

    score = ranks.on_main(finish)
    announce(recorder.folder, score, fresh=True)
    return Result(score=score, path=recorder.folder)


main = entrypoint(run, many=True)


def _mask_source(cfg: Config, folder: DatasetFolder) -> Truth | PseudoMasks:
    if cfg.segmenter.supervision is Supervision.truth:
        return build_data.truth(cfg.data)
    return PseudoMasks(cfg.input("pseudo_masks"))


def _excluded(cfg: Config, folder: DatasetFolder) -> set[str]:
    """The photos that are not to be trained on. Raises `UserError` where none would be left."""
    if not cfg.segmenter.exclude:
        return set()
    split = cfg.data.train
    listed = folder.listed(split)
    found = set(read_exclusion(Path(cfg.segmenter.exclude), known=set(listed), known_as=f"split {split!r}"))
    if found >= set(folder.ids(split)):
        raise UserError(f"segmenter.exclude={cfg.segmenter.exclude}: no photo of split {split!r} is left to train on")
    remark(f"segmenter.exclude: {len(found)} of {len(listed)} photos are not trained on")
    return found


def _is_deeplab(cfg: Config) -> bool:
    return cfg.segmenter.kind is SegmenterKind.deeplab


def _settings(cfg: Config) -> list[Any]:
    """What training depends on in its config: nothing that is prediction's, or the other kind's."""
    node = as_plain(cfg.segmenter)
    deeplab = node.pop("deeplab")
    node.pop("exclude")  # which photos are left is among the inputs
    common = [cfg.runtime.precision.value, str(cfg.seed)]
    if _is_deeplab(cfg):
        trained = {key: node[key] for key in ("kind", "supervision", "steps", "batch", "optim", "augment")}
        return [repr(trained), repr({key: value for key, value in deeplab.items() if key not in TEST}), *common]
    return [cfg.trunk, repr({key: value for key, value in node.items() if key not in TEST}), *common]


def _inputs(cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: Truth | PseudoMasks) -> dict[str, str]:
    """What training depends on beside its config, each as a hash."""
    inputs = {"data": folder.fingerprint(ids, with_saliency=False), "masks": masks.fingerprint(ids)}
    if cfg.segmenter.warm_start:
        path = cfg.input("classifier") / "model.safetensors"
        inputs[CLASSIFIER] = file_hash(path) if path.is_file() else ""
    _, _, released = cfg.segmenter.weights.partition("released:")
    if released and Path(released).is_file():
        inputs["weights"] = file_hash(Path(released))
    return inputs


def _artifact(masks: Truth | PseudoMasks) -> dict[str, str | None]:
    """Which pseudo-masks these were, for those who look whether they still lie there."""
    return {"pseudo_masks": contents_hash(masks.folder)} if isinstance(masks, PseudoMasks) else {}


def _yolact(cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: MaskSource) -> _Task:
    node = cfg.segmenter
    model, spec = build.segmenter(cfg, folder.classes)
    for line in _oddities(spec):
        remark(line)
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
            min_area=1 if node.supervision is Supervision.truth else MIN_AREA,
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
            tag_weight=node.tag_weight,
            masks_per_image=node.masks_per_image,
            min_mask_side=0.0 if spec.design == "released" else MIN_MASK_SIDE,
            mask_scorer=model.mask_iou,
            sigmoid_maps=spec.design == "released",
        ),
        counts=partial(instance_counts, anchors=model.anchors_of),
    )


def _oddities(spec: SegmenterSpec) -> Iterator[str]:
    """What is allowed in a config that was put together by hand, but hardly meant."""
    for name, known in SPECS.items():
        if spec.scales == known.scales and spec.image_size != known.image_size:
            share = min(spec.image_size) / min(known.image_size)
            scales = [[round(scale * share, 1) for scale in level] for level in spec.scales]
            height, width = spec.image_size
            yield (
                f"segmenter.scales are {name}'s for {known.image_size[0]} px, "
                f"segmenter.image_size is {height} x {width}: anchors of the same share of a photo "
                f"are segmenter.scales={str(scales).replace(' ', '')}"
            )
            break
    if spec.mask_iou and not spec.trunk.deformable_every:
        yield (
            "segmenter.mask_iou=true with trunk.deformable_every=0 rates masks without deformable convolutions: "
            "YOLACT++ has both, as trunk=yolact_plus_resnet50 and trunk=yolact_plus_resnet101 bring them"
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
        counts=semantic_counts,
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
    draws = build_training.draws(cfg, cfg.segmenter, photos=photos, start=start)
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
