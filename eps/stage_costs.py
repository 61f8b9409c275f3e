"""Memory and time of each stage, about: the memory counted, the time from a few steps."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import nn

from eps import build, build_training
from eps.data.datasets import TaggedDataset
from eps.data.images import read_image_size
from eps.data.layout import DatasetFolder
from eps.engine.calibration import mean_seconds, step_seconds
from eps.engine.inference import localize
from eps.engine.memory import allowed, localization_memory
from eps.memory_demand import photo_size, step_memory
from eps.models.classifier import Classifier
from eps.schema import Config
from eps.schema.classifier import ClassifierConfig, ClassifierKind
from eps.schema.crf import CRFBackend
from eps.schema.segmenter import SegmenterConfig, SegmenterKind

MEASURED = 500
"""So many photos are measured at most, evenly over the split."""
TIMED = 3
"""Photos that labelling is timed on, and that reading is."""


class Cost(NamedTuple):
    """Of one stage, in words."""

    stage: str
    told: str
    fits: bool = True


def stage_costs(cfg: Config, folder: DatasetFolder, ids: Sequence[str], accelerator: Accelerator) -> Iterator[Cost]:
    """Of training on these photos, labelling them and training on the labels; what does not fit is not timed."""
    plain = replace(cfg, trunk=replace(cfg.trunk, weights="none"))  # which weights they are is no matter here
    reading = _reading_seconds(cfg, folder, ids, accelerator.device)
    classifier, _ = build.classifier(plain, folder.classes)
    yield _training("stage 1", cfg, build.scaled_with_batch(cfg.classifier), classifier, accelerator, reading)
    yield _labelling(cfg, classifier, folder, ids, accelerator.device)
    node = build.scaled_with_batch(cfg.segmenter)
    if node.kind is SegmenterKind.yolact:
        plain = replace(plain, segmenter=replace(plain.segmenter, weights="none"))
        yield _training("stage 3", cfg, node, build.segmenter(plain, folder.classes)[0], accelerator, reading)
    else:
        deeplab = replace(plain.segmenter, deeplab=replace(plain.segmenter.deeplab, weights="none"))
        made, _ = build.deeplab(replace(plain, segmenter=deeplab), folder.classes)
        yield _training("stage 3", cfg, node, made, accelerator, reading)


def _training(
    stage: str,
    cfg: Config,
    node: ClassifierConfig | SegmenterConfig,
    model: nn.Module,
    accelerator: Accelerator,
    reading: float,
) -> Cost:
    parts = cfg.runtime.accumulate
    photos = max(1, node.batch // parts)
    needed, most = step_memory(cfg, node, model), allowed(_limit(cfg), accelerator.device)
    memory = "an unknown amount of memory" if needed is None else f"{needed.of(photos):.2g} GiB"
    if needed is not None and needed.of(photos) > most:
        return Cost(stage, f"a step needs {memory}, of {most:.3g}: see runtime.accumulate", fits=False)
    computing = parts * step_seconds(model, accelerator, photos=photos, size=photo_size(node))
    loading = node.batch * reading
    step = max(computing, loading / cfg.runtime.workers) if cfg.runtime.workers else computing + loading
    slow = " (reading photos is the slower part: more runtime.workers)" if loading > 2 * computing else ""
    told = f"{node.steps} steps of {step:.2g} s, {memory} each{slow}"
    return Cost(stage, f"about {_duration(node.steps * step)}: {told}")


def _labelling(cfg: Config, model: Classifier, folder: DatasetFolder, ids: Sequence[str], device: torch.device) -> Cost:
    node = cfg.pseudo_masks
    model = model.to(device).eval()
    paths = [folder.photo_path(photo) for photo in evenly(ids, MEASURED)]
    width, height = max(map(read_image_size, paths), key=math.prod)
    needed = [localization_memory(model, size=(height, width), scale=scale, flip=node.flip) for scale in node.scales]
    memory, most = max((gib for gib in needed if gib is not None), default=0.0), allowed(_limit(cfg), device)
    shown = f"{width}x{height} px"
    if memory > most:
        told = f"a photo of {shown} needs {memory:.2g} GiB, of {most:.3g}: smaller photos or pseudo_masks.scales"
        return Cost("stage 2", told, fits=False)

    def label(photo: str) -> None:
        tags = torch.from_numpy(folder.tags(photo)).to(device)
        localize(model, folder.photo(photo), tags, scales=node.scales, flip=node.flip)

    seconds = mean_seconds(label, evenly(ids, TIMED), device=device)
    crf = "" if node.crf is CRFBackend.none else ", the CRF on top"
    told = f"{len(ids)} photos of {seconds:.2g} s{crf}, up to {memory:.2g} GiB (for {shown})"
    return Cost("stage 2", f"about {_duration(len(ids) * seconds)}: {told}")


def _limit(cfg: Config) -> float:
    """Without an estimate asked for, what is free counts here."""
    return max(0.0, cfg.runtime.memory_limit)


def _reading_seconds(cfg: Config, folder: DatasetFolder, ids: Sequence[str], device: torch.device) -> float:
    """Of one photo, its map and their augmentation, by one process."""
    node = cfg.classifier
    maps = node.kind is ClassifierKind.eps and not folder.without_saliency(ids)
    transform = build.transform(node.augment)
    dataset = TaggedDataset(folder=folder, ids=ids, transform=transform, with_saliency=maps)
    batch = next(iter(build_training.draws(cfg, node, photos=len(ids), start=0)))
    return mean_seconds(dataset.__getitem__, batch[:TIMED], device=device)


def evenly(ids: Sequence[str], count: int) -> list[str]:
    """So many of them at most, from beginning to end; `count` is 2 or more."""
    return [ids[place] for place in sorted({round(i * (len(ids) - 1) / (count - 1)) for i in range(count)})]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
