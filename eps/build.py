"""From config nodes to objects: the only place where a config becomes a dataset, a model or an optimizer."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchvision.transforms import v2

from eps.data import railroad
from eps.data.artifacts import as_plain
from eps.data.layout import DatasetFolder
from eps.data.manifest import Recorder
from eps.data.transforms import training_transform
from eps.engine import optim, runtime
from eps.engine.checkpoint import ResumeFile, load_segmenter
from eps.engine.loop import Batch, History, Losses, train
from eps.engine.predictor import Predictor
from eps.models.classifier import Classifier
from eps.models.segmenter import Segmenter
from eps.models.spec import ClassifierSpec, SegmenterSpec, TrunkSpec, build_classifier, build_segmenter
from eps.nn.backbone import load_initial_weights
from eps.nn.trunk import Trunk
from eps.schema import (
    AugmentConfig,
    ClassifierConfig,
    ClassifierKind,
    Config,
    DataConfig,
    DataKind,
    OptimConfig,
    ScheduleKind,
    SegmenterConfig,
    TrunkConfig,
)

Model = TypeVar("Model", bound=nn.Module)


def dataset(cfg: DataConfig) -> DatasetFolder:
    """The dataset folder, whose embedded benchmark is generated where it is missing."""
    root = Path(cfg.root)
    if cfg.kind is DataKind.railroad:
        railroad.write(root, sizes=cfg.sizes, size=cfg.size)
    return DatasetFolder.open(root)


def accelerator(cfg: Config) -> Accelerator:
    """Device and precision of this run, its seeds set."""
    settings = cfg.runtime
    return runtime.start(device=settings.device, precision=settings.precision, threads=settings.threads, seed=cfg.seed)


def classifier(cfg: Config, classes: tuple[str, ...]) -> tuple[Classifier, ClassifierSpec]:
    """A classifier to train: initial weights in its backbone, fresh ones elsewhere."""
    spec = ClassifierSpec(
        trunk=_trunk_spec(cfg.trunk), classes=classes, background=cfg.classifier.kind is ClassifierKind.eps
    )
    model = build_classifier(spec)
    _start_backbone(model.trunk, cfg.trunk)
    return _channels_last(model), spec


def segmenter(cfg: Config, classes: tuple[str, ...]) -> tuple[Segmenter, SegmenterSpec]:
    """A segmenter to train: initial weights in its backbone, fresh ones elsewhere."""
    node = cfg.segmenter
    height, width = node.image_size
    spec = SegmenterSpec(
        trunk=_trunk_spec(cfg.trunk),
        classes=classes,
        image_size=(height, width),
        scales=tuple(tuple(level) for level in node.scales),
        ratios=tuple(node.ratios),
    )
    model = build_segmenter(spec)
    _start_backbone(model.trunk, cfg.trunk)
    return _channels_last(model), spec


def predictor(cfg: Config, folder: Path) -> Predictor:
    """The segmenter of a folder, with this config's detection thresholds, on this run's device."""
    model, spec = load_segmenter(folder / "model.safetensors")
    return Predictor(
        model=model,
        spec=spec,
        device=accelerator(cfg).device,
        score_threshold=cfg.segmenter.score_threshold,
        iou_threshold=cfg.segmenter.nms_iou,
        max_detections=cfg.segmenter.max_detections,
    )


def optimizer(
    cfg: OptimConfig, model: nn.Module, *, last: Iterable[nn.Parameter], steps: int
) -> tuple[Optimizer, LRScheduler]:
    """Optimizer with the four parameter groups, and its schedule over `steps`."""
    groups = optim.parameter_groups(
        model,
        last=last,
        lr=cfg.lr,
        weight_decay=cfg.weight_decay,
        bias_scale=cfg.bias_scale,
        last_scale=cfg.last_scale,
    )
    made = optim.build_optimizer(groups, kind=cfg.kind.value, lr=cfg.lr, momentum=cfg.momentum)
    if cfg.schedule is ScheduleKind.poly:
        factor = optim.poly(steps=steps, power=cfg.power, warmup=cfg.warmup)
    else:
        factor = optim.drops(steps=steps, at=cfg.drops, warmup=cfg.warmup)
    return made, optim.schedule(made, factor)


def transform(cfg: AugmentConfig, *, mean: list[float]) -> v2.Compose:
    """Training augmentation; padding has the mean colour."""
    return training_transform(crop=cfg.crop, scale=cfg.scale, flip=cfg.flip, jitter=cfg.jitter, mean=mean)


def fit(
    cfg: Config,
    node: ClassifierConfig | SegmenterConfig,
    recorder: Recorder,
    accelerator: Accelerator,
    model: nn.Module,
    *,
    last: Iterable[nn.Parameter],
    criterion: Callable[[nn.Module, Batch, int], Losses],
    batches: Callable[[int], Iterable[Batch]],
    label: str,
) -> History:
    """Train a model as its node says, going on from the state that a stopped run left beside the artifact."""
    made, scheduler = optimizer(node.optim, model, last=last, steps=node.steps)
    return train(
        model=model,
        criterion=criterion,
        batches=batches,
        optimizer=made,
        scheduler=scheduler,
        accelerator=accelerator,
        steps=node.steps,
        clip=node.optim.clip,
        resume=ResumeFile(recorder.resume_path, fingerprint=recorder.fingerprint),
        save_every=cfg.runtime.checkpoint_every,
        label=label,
    )


def fingerprint(*inputs: Any) -> str:
    """A hash of config nodes and of texts."""
    texts = [text if isinstance(text, str) else repr(as_plain(text)) for text in inputs]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _trunk_spec(cfg: TrunkConfig) -> TrunkSpec:
    return TrunkSpec(
        backbone=cfg.backbone,
        frozen_norm=cfg.frozen_norm,
        fpn_channels=cfg.fpn_channels,
        head_channels=cfg.head_channels,
        head_depth=cfg.head_depth,
        prototypes=cfg.prototypes,
        mean=(cfg.mean[0], cfg.mean[1], cfg.mean[2]),
        std=(cfg.std[0], cfg.std[1], cfg.std[2]),
    )


def _start_backbone(trunk: Trunk, cfg: TrunkConfig) -> None:
    load_initial_weights(trunk.backbone, name=cfg.backbone, source=cfg.weights)


def _channels_last(model: Model) -> Model:
    return model.to(memory_format=torch.channels_last)
