"""Train a segmenter, YOLACT or DeepLab, on pseudo-masks, or on true masks for the upper bound (stage 3).

Reads photos, `pseudo_masks/` and, for YOLACT's start, `classifier/`; writes `segmenter/`: weights, loss history,
manifest.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from eps import build, build_data, build_training
from eps.checkpoints.initial_weights import weights_hash
from eps.cli import entrypoint, started_with
from eps.data.artifacts import as_plain, file_hash, fingerprint_of
from eps.data.datasets import read_saliency
from eps.data.exclusion import read_exclusion
from eps.data.layout import DatasetFolder
from eps.data.loading import load_batches
from eps.data.manifest import CLASSIFIER, Recorder, contents_hash
from eps.data.mask_sources import PseudoMasks
from eps.data.truth import Truth
from eps.engine import ranks
from eps.engine.agreement import LabelTally
from eps.engine.checkpoint import save_model
from eps.engine.predictor import Predictor
from eps.engine.progress import announce, remark
from eps.engine.watch import Look
from eps.errors import UserError
from eps.models.deeplab import DeepLab
from eps.models.segmenter import Segmenter
from eps.models.spec import DeepLabSpec, SegmenterSpec
from eps.report_page.watched import prediction_picture
from eps.schema import Config, Result
from eps.schema.segmenter import DeepLabBackbone, SegmenterKind, Supervision
from eps.segmenter_tasks import Task, deeplab, yolact

PHOTOS_FOR_SCORE = 50
OF_THE_HEAD = (
    *("output_stride", "head", "fpn_channels", "head_channels", "head_depth", "prototypes", "finest_stride"),
    "deformable_every",
)
"""Settings of a trunk that concern what stands on its backbone: DeepLab on that backbone has parts of its own."""
TEST = ("score_threshold", "nms_iou", "max_detections", "cross_class", "test_scales", "test_flip")
"""Settings of prediction: training does not depend on them."""


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
    make = deeplab if _is_deeplab(cfg) else yolact
    task = make(cfg, folder, ids, masks)
    trained = build_training.fit(
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
        look=_look(cfg, folder, ids, task.spec, accelerator.device),
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
                settings=started_with(),
                excluded=len(excluded),
                **build.recipe(cfg),
                history=trained.history,
                looks=trained.looks,
            )
        return score

    score = ranks.on_main(finish)
    announce(recorder.folder, score, fresh=True)
    return Result(score=score, path=recorder.folder)


main = entrypoint(run, many=True)


def _look(
    cfg: Config, folder: DatasetFolder, ids: Sequence[str], spec: SegmenterSpec | DeepLabSpec, device: torch.device
) -> Look[Segmenter | DeepLab]:
    """The score on some of the photos that it is taken of in the end, and finds in photos that are not learnt from."""
    scored = build_training.looked_at(ids[:PHOTOS_FOR_SCORE])

    def pictures(model: Segmenter | DeepLab) -> Iterator[tuple[str, Image.Image]]:
        predictor = Predictor(model=model, spec=spec, device=device)
        for photo in build_training.pictured(cfg, folder):
            yield f"predictions/{photo}", prediction_picture(predictor, photo, folder.photo(photo))

    return Look(
        score=lambda model: _score(Predictor(model=model, spec=spec, device=device), folder, scored),
        pictures=pictures,
    )


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
    del node["deeplab"]
    node.pop("exclude")  # which photos are left is among the inputs
    if not node["scaled_coefficients"]:  # as there were none once: what was trained then stays as it is
        node.pop("scaled_coefficients")
    common = [cfg.runtime.precision.value, str(cfg.seed)]
    if _is_deeplab(cfg):
        trained = {key: node[key] for key in ("kind", "supervision", "steps", "batch", "optim", "augment")}
        return [repr(trained), *_deeplab_settings(cfg), *common]
    return [cfg.trunk, repr({key: value for key, value in node.items() if key not in TEST}), *common]


def _deeplab_settings(cfg: Config) -> list[str]:
    """What DeepLab's own parts depend on: of `trunk` only where it has that backbone, which then has its weights."""
    node = as_plain(cfg.segmenter.deeplab)
    on_trunk = cfg.segmenter.deeplab.backbone is DeepLabBackbone.trunk
    del node["weights" if on_trunk else "output_stride"]
    kept = [repr({key: value for key, value in node.items() if key not in TEST})]
    if on_trunk:
        kept.append(repr({key: value for key, value in as_plain(cfg.trunk).items() if key not in OF_THE_HEAD}))
    return kept


def _inputs(cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: Truth | PseudoMasks) -> dict[str, str]:
    """What training depends on beside its config, each as a hash."""
    inputs = {"data": folder.fingerprint(ids, with_saliency=False), "masks": masks.fingerprint(ids)}
    if cfg.segmenter.warm_start:
        path = cfg.input("classifier") / "model.safetensors"
        inputs[CLASSIFIER] = file_hash(path) if path.is_file() else ""
    if weights := weights_hash(_weights(cfg)):
        inputs["weights"] = weights
    return inputs


def _weights(cfg: Config) -> str:
    """The setting of the weights that training starts from."""
    node = cfg.segmenter
    if _is_deeplab(cfg) and node.deeplab.backbone is not DeepLabBackbone.trunk:
        return node.deeplab.weights
    return node.weights if node.weights.startswith("released:") and not _is_deeplab(cfg) else cfg.trunk.weights


def _artifact(masks: Truth | PseudoMasks) -> dict[str, str | None]:
    """Which pseudo-masks these were, for those who look whether they still lie there."""
    return {"pseudo_masks": contents_hash(masks.folder)} if isinstance(masks, PseudoMasks) else {}


def _batches(cfg: Config, task: Task, photos: int, start: int) -> Iterable[Any]:
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
