"""From config nodes to objects: the only place where a config becomes a dataset, a model or an optimizer."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchvision.transforms import v2

from eps.checkpoints.initial_weights import load_initial_weights
from eps.checkpoints.yolact import start_from_released
from eps.data import railroad, transforms
from eps.data.artifacts import as_plain
from eps.data.coco import coco_form, json_files, own_coco_form, own_json_files
from eps.data.coco_truth import CocoTruth
from eps.data.folder import folder_form
from eps.data.index import Index
from eps.data.layout import DatasetFolder
from eps.data.listing import Form, Places
from eps.data.manifest import Recorder
from eps.data.photos import photos_form
from eps.data.sampling import Draw, TrainingDraws
from eps.data.sbd import sbd_form
from eps.data.sbd_truth import SbdTruth
from eps.data.transforms import training_transform
from eps.data.truth import Truth, TruthFolder
from eps.data.voc import voc_form
from eps.engine import optim, runtime
from eps.engine.checkpoint import ResumeFile
from eps.engine.loop import Batch, History, Losses, train
from eps.engine.predictor import Predictor, load_network
from eps.engine.progress import remark
from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.models.deeplab import IMAGENET_MEAN, IMAGENET_STD, DeepLab, load_resnet_weights
from eps.models.segmenter import Segmenter
from eps.models.spec import (
    ClassifierSpec,
    DeepLabSpec,
    SegmenterSpec,
    TrunkSpec,
    build_classifier,
    build_deeplab,
    build_segmenter,
)
from eps.nn.trunk import IdentityTrunk, Trunk
from eps.saliency.onnx_network import OnnxNetwork
from eps.saliency.recipe import Recipe
from eps.saliency.rembg_session import RembgSession
from eps.schema import (
    AugmentConfig,
    AugmentKind,
    ClassifierConfig,
    ClassifierKind,
    Config,
    DataConfig,
    DataKind,
    OptimConfig,
    SaliencyConfig,
    SaliencyKind,
    ScheduleKind,
    SegmenterConfig,
    TrunkConfig,
)

Model = TypeVar("Model", bound=nn.Module)
Trained = TypeVar("Trained", ClassifierConfig, SegmenterConfig)
COCO = (DataKind.coco, DataKind.coco14, DataKind.coco17)
FEW_PHOTOS = 6
"""Below this batch size YOLACT keeps batch norms frozen."""


def dataset(cfg: DataConfig, *, keep_index: bool = False) -> DatasetFolder:
    """The dataset; the embedded benchmark is generated where it is missing."""
    if cfg.kind is DataKind.railroad:
        railroad.write(Path(cfg.root), sizes=cfg.sizes, size=cfg.size)
    form = data_form(cfg)
    return DatasetFolder.of(form, data_index(cfg).listing(form, keep=keep_index))


def data_form(cfg: DataConfig) -> Form:
    """How the dataset lies in its folder. Raises `UserError` where it is not there."""
    root = Path(cfg.root)
    places = Places(saliency=cfg.saliency, tags=cfg.tags, no_photos=(cfg.saliency, cfg.truth))
    match cfg.kind:
        case DataKind.voc12:
            return voc_form(root, places, difficult=cfg.difficult)
        case DataKind.coco14 | DataKind.coco17:
            return coco_form(root, places, year=_year(cfg))
        case DataKind.coco:
            return own_coco_form(root, places, val_share=cfg.val_share)
        case DataKind.sbd:
            return sbd_form(root, places)
        case DataKind.photos:
            return photos_form(root, places, classes=cfg.classes, val_share=cfg.val_share)
        case DataKind.folder | DataKind.railroad:
            return folder_form(root, places)


def data_index(cfg: DataConfig) -> Index:
    """Where `eps.prepare` keeps what it has found out about the dataset."""
    if cfg.index != "auto":
        return Index(Path(cfg.index))
    known = fingerprint(str(Path(cfg.root).resolve()), cfg.tags, repr(cfg.difficult), repr(cfg.classes))
    return Index(Path("runs", "data", f"{cfg.kind}-{known[:12]}"))


def truth(cfg: DataConfig) -> Truth:
    """The true masks of the dataset: for evaluation, and for the supervised upper bound alone."""
    form = data_form(cfg)
    if cfg.kind in COCO:
        return CocoTruth(tuple(coco_files(cfg, below=cfg.truth)))
    if cfg.kind is DataKind.sbd:
        return SbdTruth(form.root, cfg.truth)
    folders = (cfg.truth, "SegmentationClassAug") if cfg.kind is DataKind.voc12 else (cfg.truth,)
    return TruthFolder(form.root, folders)


def coco_files(cfg: DataConfig, *, below: str = "") -> list[Path]:
    """The json files that annotations are read from, of `data.tags` or of another place; none of other datasets."""
    if cfg.kind not in COCO:
        return []
    place = Path(cfg.root) / (below or cfg.tags)
    return list((own_json_files(place) if cfg.kind is DataKind.coco else json_files(place, _year(cfg))).values())


def _year(cfg: DataConfig) -> int:
    return 2014 if cfg.kind is DataKind.coco14 else 2017


def accelerator(cfg: Config) -> Accelerator:
    """Device and precision of this run, its seeds set."""
    settings = cfg.runtime
    return runtime.start(device=settings.device, precision=settings.precision, threads=settings.threads, seed=cfg.seed)


def saliency_network(cfg: Config) -> OnnxNetwork | RembgSession:
    """What makes saliency maps. Raises `UserError` where nothing is chosen, or what is cannot be used."""
    node, settings = cfg.saliency, cfg.runtime
    if node.kind is SaliencyKind.none:
        raise UserError("saliency=none makes no maps: choose saliency=u2net, isnet, birefnet, onnx or rembg")
    if node.kind is SaliencyKind.rembg:
        return RembgSession(node.session, device=settings.device)
    return OnnxNetwork(
        Path(node.model),
        recipe=_saliency_recipe(node),
        output=node.output,
        batch=node.batch,
        device=settings.device,
        threads=settings.threads or torch.get_num_threads(),
    )


def classifier(cfg: Config, classes: tuple[str, ...]) -> tuple[Classifier, ClassifierSpec]:
    """A classifier to train: initial weights in its backbone, fresh ones elsewhere."""
    spec = ClassifierSpec(
        trunk=_trunk_spec(cfg.trunk, batch=cfg.classifier.batch),
        classes=classes,
        background=cfg.classifier.kind is ClassifierKind.eps,
        dropout=cfg.classifier.dropout,
    )
    model = build_classifier(spec)
    _start_backbone(model.trunk, cfg.trunk)
    return _channels_last(model), spec


def segmenter(cfg: Config, classes: tuple[str, ...]) -> tuple[Segmenter, SegmenterSpec]:
    """A segmenter to train: released weights, or initial ones in its backbone and fresh ones elsewhere."""
    node = cfg.segmenter
    height, width = node.image_size
    spec = SegmenterSpec(
        trunk=_trunk_spec(cfg.trunk, batch=node.batch),
        classes=classes,
        image_size=(height, width),
        scales=tuple(tuple(level) for level in node.scales),
        ratios=tuple(node.ratios),
        square_anchors=node.square_anchors,
        design=node.design.value,
        mask_iou=node.mask_iou,
    )
    model = build_segmenter(spec)
    _, _, released = node.weights.partition("released:")
    if released:
        for line in start_from_released(model, path=Path(released), classes=classes):
            remark(f"segmenter.weights={node.weights}: {line}")
    else:
        _start_backbone(model.trunk, cfg.trunk)
    return _channels_last(model), spec


def deeplab(cfg: Config, classes: tuple[str, ...]) -> tuple[DeepLab, DeepLabSpec]:
    """A DeepLab to train: initial weights in its backbone, fresh ones in its head."""
    node = cfg.segmenter.deeplab
    spec = DeepLabSpec(
        backbone=node.backbone.value,
        classes=classes,
        frozen_norm=node.frozen_norm,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    model = build_deeplab(spec)
    load_resnet_weights(model, name=node.backbone.value, source=node.weights)
    return _channels_last(model), spec


def predictor(cfg: Config, place: Path, *, wanted: Sequence[str] = (), drawn: bool = False) -> Predictor:
    """The segmenter of a folder or file, with this config's settings for prediction, on this run's device.

    `wanted` are the classes to find, all where there are none; what is `drawn` is only the best and surest of it.
    """
    tested = cfg.segmenter.deeplab
    model, spec = load_network(place, threads=cfg.runtime.threads)
    limits = (cfg.predict.score_threshold, cfg.predict.top_k)
    score_threshold, most = limits if drawn else (cfg.segmenter.score_threshold, cfg.segmenter.max_detections)
    return Predictor(
        model=model,
        spec=spec,
        device=accelerator(cfg).device,
        score_threshold=score_threshold,
        iou_threshold=cfg.segmenter.nms_iou,
        max_detections=most,
        cross_class=cfg.segmenter.cross_class,
        least_score=cfg.predict.score_threshold if drawn else 0.0,
        wanted=wanted,
        scales=tested.test_scales if isinstance(spec, DeepLabSpec) else [1.0],
        flip=tested.test_flip and isinstance(spec, DeepLabSpec),
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
    return training_transform(crop=cfg.crop, long_side=cfg.long_side, flip=cfg.flip, jitter=cfg.jitter, mean=mean)


def instance_transform(cfg: SegmenterConfig, *, mean: list[float]) -> v2.Compose:
    """YOLACT's training augmentation, of either kind."""
    node = cfg.augment
    if node.kind is AugmentKind.crop:
        return transform(node, mean=mean)
    return transforms.yolact_transform(
        size=cfg.image_size,
        flip=node.flip,
        jitter=node.jitter,
        expand=node.expand,
        overlap=node.crop_overlap,
        mean=mean,
    )


def semantic_transform(cfg: SegmenterConfig, *, mean: Sequence[float]) -> v2.Compose:
    """DeepLab's training augmentation; padding has the mean colour and is ignored."""
    node = cfg.augment
    return transforms.semantic_transform(
        crop=node.crop, scale=cfg.deeplab.scale, flip=node.flip, jitter=node.jitter, mean=mean
    )


def scaled_with_batch(node: Trained) -> Trained:
    """Rate and steps for the batch size that there is, where they are meant for another one."""
    base = node.optim.base_batch
    if not base or base == node.batch:
        return node
    factor = node.batch / base
    steps, rate = max(1, round(node.steps / factor)), node.optim.lr * factor
    told = f"{steps} steps at {rate:g} in place of {node.steps} at {node.optim.lr:g}"
    remark(f"batch {node.batch} in place of {base}: {told} (optim.base_batch)")
    return replace(node, steps=steps, optim=replace(node.optim, lr=rate, base_batch=0))


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
    photos: Callable[[Draw], Sequence[str]],
    size: int,
    label: str,
) -> History:
    """Train a model as its node says, going on from the state that a stopped run left beside the artifact.

    `photos` are the ids that a draw from a dataset of `size` photos is made of.
    """

    def photos_of(step: int) -> list[str]:
        draws = TrainingDraws(photos=size, batch=node.batch, steps=step + 1, seed=cfg.seed, start=step)
        return [photo for batch in draws for draw in batch for photo in photos(draw)]

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
        max_bad_steps=cfg.runtime.max_bad_steps,
        photos=photos_of,
    )


def fingerprint(*inputs: Any) -> str:
    """A hash of config nodes and of texts."""
    texts = [text if isinstance(text, str) else repr(as_plain(text)) for text in inputs]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _trunk_spec(cfg: TrunkConfig, *, batch: int) -> TrunkSpec:
    return TrunkSpec(
        backbone=cfg.backbone,
        frozen_norm=batch < FEW_PHOTOS if cfg.frozen_norm == "auto" else bool(cfg.frozen_norm),
        frozen_stages=cfg.frozen_stages,
        output_stride=cfg.output_stride,
        head=cfg.head.value,
        fpn_channels=cfg.fpn_channels,
        head_channels=cfg.head_channels,
        head_depth=cfg.head_depth,
        prototypes=cfg.prototypes,
        finest_stride=4 if cfg.finest_stride == 4 else 8,
        deformable_every=cfg.deformable_every,
        mean=(cfg.mean[0], cfg.mean[1], cfg.mean[2]),
        std=(cfg.std[0], cfg.std[1], cfg.std[2]),
    )


def _saliency_recipe(cfg: SaliencyConfig) -> Recipe:
    return Recipe(
        size=(cfg.size[0], cfg.size[1]),
        scale=cfg.scale,
        mean=(cfg.mean[0], cfg.mean[1], cfg.mean[2]),
        std=(cfg.std[0], cfg.std[1], cfg.std[2]),
        layout=cfg.layout,
        channels=cfg.channels,
        activation=cfg.activation,
    )


def _start_backbone(trunk: Trunk | IdentityTrunk, cfg: TrunkConfig) -> None:
    load_initial_weights(trunk.backbone, name=cfg.backbone, source=cfg.weights)


def _channels_last(model: Model) -> Model:
    return model.to(memory_format=torch.channels_last)
