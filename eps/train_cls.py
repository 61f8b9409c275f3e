"""Train the classifier whose localization maps explain image tags and saliency maps together (stage 1).

Reads photos, tags and saliency maps; writes `classifier/`: weights, loss history and manifest.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eps import build, build_data, build_training
from eps.checkpoints.initial_weights import weights_hash
from eps.cli import entrypoint, started_with
from eps.data.artifacts import as_plain, fingerprint_of
from eps.data.datasets import TaggedDataset, join_tagged, read_saliency
from eps.data.layout import DatasetFolder
from eps.data.loading import load_batches
from eps.data.manifest import Recorder
from eps.data.samples import TaggedPhotos
from eps.engine import ranks
from eps.engine.agreement import agreement
from eps.engine.checkpoint import save_model
from eps.engine.descent import Losses
from eps.engine.inference import localize
from eps.engine.progress import announce
from eps.engine.watch import Look
from eps.errors import UserError
from eps.losses.classification import pooled_logits, tag_loss
from eps.losses.eps import eps_loss, saliency_likelihood
from eps.models.classifier import Classifier
from eps.ops.fusion import trusted_saliency
from eps.report_page.watched import localization_picture
from eps.saliency.maps import advice
from eps.schema import Config, Result
from eps.schema.classifier import ClassifierConfig, ClassifierKind, Pooling, SaliencyAt, SaliencyLoss

PHOTOS_FOR_SCORE = 100


def run(cfg: Config) -> Result:
    """Train, write `classifier/`, and score by the agreement of the maps with saliency (no truth)."""
    ranks.join(device=cfg.runtime.device)
    cfg = replace(cfg, classifier=build.scaled_with_batch(cfg.classifier))
    folder = build_data.dataset(cfg.data)
    ids = folder.ids(cfg.data.train)
    if _uses_saliency(cfg) and (missing := folder.without_saliency(ids)):
        raise UserError(advice(folder, missing, of=len(ids)))
    inputs = {"data": folder.fingerprint(ids, with_saliency=_uses_saliency(cfg))}
    if weights := weights_hash(cfg.trunk.weights):
        inputs["weights"] = weights
    settings = [cfg.trunk, cfg.classifier, cfg.runtime.precision.value, str(cfg.seed)]
    fingerprint = fingerprint_of(*settings, *inputs.values())
    recorder = Recorder(cfg.output("classifier"), fingerprint=fingerprint)
    if (earlier := ranks.on_main(recorder.finished)) is not None:
        announce(recorder.folder, earlier, fresh=False)
        return Result(score=earlier, path=recorder.folder)
    accelerator = build.accelerator(cfg)
    model, spec = build.classifier(cfg, folder.classes)
    trained = build_training.fit(
        cfg,
        cfg.classifier,
        recorder,
        accelerator,
        model,
        last=[model.coefficients],
        criterion=partial(_criterion, cfg.classifier, model.normalize),
        batches=partial(_batches, cfg, folder, ids),
        photos=lambda draw: [ids[draw.position]],
        size=len(ids),
        label=f"classifier ({cfg.classifier.kind})",
        look=_look(cfg, folder, ids, accelerator.device),
    )

    def finish() -> float:
        score = _score(model.eval(), folder, ids[:PHOTOS_FOR_SCORE], accelerator.device)
        with recorder.writing() as target:
            save_model(target / "model.safetensors", model, spec)
            recorder.record(
                target,
                score=score,
                config=as_plain(cfg.classifier),
                inputs=inputs,
                skipped=folder.skipped(cfg.data.train),
                settings=started_with(),
                **build.recipe(cfg),
                history=trained.history,
                looks=trained.looks,
            )
        return score

    score = ranks.on_main(finish)
    announce(recorder.folder, score, fresh=True)
    return Result(score=score, path=recorder.folder)


main = entrypoint(run, many=True)


def _look(cfg: Config, folder: DatasetFolder, ids: Sequence[str], device: torch.device) -> Look[Classifier]:
    """The score on some of the photos that it is taken of in the end, and maps of photos that are not learnt from."""
    scored = build_training.looked_at(ids[:PHOTOS_FOR_SCORE])
    return Look(
        score=lambda model: _score(model, folder, scored, device),
        pictures=lambda model: (
            (f"localization maps/{photo}", localization_picture(model, photo, folder.photo(photo), folder.classes))
            for photo in build_training.pictured(cfg, folder)
        ),
    )


def _uses_saliency(cfg: Config) -> bool:
    return cfg.classifier.kind is ClassifierKind.eps


def _batches(cfg: Config, folder: DatasetFolder, ids: Sequence[str], start: int) -> Iterable[TaggedPhotos]:
    node = cfg.classifier
    transform = build.transform(node.augment)
    return load_batches(
        TaggedDataset(
            folder=folder,
            ids=ids,
            transform=transform,
            with_saliency=_uses_saliency(cfg),
            cache_mb=cfg.runtime.cache_mb,
        ),
        build_training.draws(cfg, node, photos=len(ids), start=start),
        join=join_tagged,
        workers=cfg.runtime.workers,
    )


def _criterion(
    cfg: ClassifierConfig, normalize: Callable[[Tensor], Tensor], model: nn.Module, batch: TaggedPhotos, step: int
) -> Losses:
    maps = model(normalize(batch.photos)).maps
    classes = batch.tags.shape[1]
    saliency = batch.saliency / 255
    if cfg.saliency_at is SaliencyAt.maps:
        saliency = F.interpolate(saliency, size=maps.shape[-2:], mode="area")
    if cfg.kind is ClassifierKind.eps and step >= cfg.distrust_from * cfg.steps:
        saliency = trusted_saliency(maps, saliency, batch.tags)
    weights = saliency if cfg.pooling is Pooling.salient else None
    logits = pooled_logits(maps[:, :classes], weights, floor=cfg.pooling_floor)
    terms = {"tags": cfg.tag_weight * tag_loss(logits, batch.tags)}
    if cfg.kind is ClassifierKind.eps:
        terms["saliency"] = _saliency_term(cfg, maps, saliency, batch.tags, step)
    return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)


def _saliency_term(cfg: ClassifierConfig, maps: Tensor, saliency: Tensor, tags: Tensor, step: int) -> Tensor:
    if cfg.saliency_loss is SaliencyLoss.likelihood:
        return saliency_likelihood(maps, saliency, tags)
    select_all = step < cfg.select_all * cfg.steps
    return eps_loss(maps, saliency, tags, tau=cfg.tau, lam=cfg.lam, select_all=select_all).loss


def _score(model: Classifier, folder: DatasetFolder, ids: Sequence[str], device: torch.device) -> float:
    """Best IoU of single-scale maps with saliency over some training photos; nan where there is no saliency."""
    if folder.without_saliency(ids):
        return math.nan
    found = agreement(_maps_and_saliency(model, folder, ids, device))
    return max(found.iou)


def _maps_and_saliency(
    model: Classifier, folder: DatasetFolder, ids: Sequence[str], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    for photo in ids:
        image = folder.photo(photo)
        tags = torch.from_numpy(folder.tags(photo)).to(device)
        scores = localize(model, image, tags, scales=[1.0], flip=False)
        yield scores.cpu(), read_saliency(folder, photo, size=(image.height, image.width))


if __name__ == "__main__":
    main()
