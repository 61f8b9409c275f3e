"""From config nodes to objects: the only place where a config becomes a model or an optimizer."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import nn
from torchvision.transforms import v2

from eps.checkpoints.initial_weights import load_initial_weights, other_normalization
from eps.checkpoints.yolact import Told, start_from_released
from eps.data import transforms
from eps.data.artifacts import as_plain
from eps.data.class_names import COCO, class_names
from eps.data.transforms import training_transform
from eps.engine import runtime
from eps.engine.checkpoint import network_file
from eps.engine.forms import Form
from eps.engine.predictor import Predictor, load_network
from eps.engine.progress import remark
from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.models.deeplab import DeepLab, load_resnet_weights
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
from eps.nn.backbone import Backbone
from eps.nn.normalization import IMAGENET_MEAN, IMAGENET_STD
from eps.saliency.onnx_network import OnnxNetwork
from eps.saliency.recipe import Recipe
from eps.saliency.rembg_session import RembgSession
from eps.schema import Config
from eps.schema.classifier import ClassifierConfig, ClassifierKind
from eps.schema.runtime import Precision
from eps.schema.saliency import SaliencyConfig, SaliencyKind
from eps.schema.segmenter import AugmentKind, DeepLabBackbone, ReleasedNetwork, SegmenterConfig
from eps.schema.training import AugmentConfig
from eps.schema.trunk import TrunkConfig

Model = TypeVar("Model", bound=nn.Module)
Trained = TypeVar("Trained", ClassifierConfig, SegmenterConfig)
FEW_PHOTOS = 6
"""Below this batch size YOLACT keeps batch norms frozen."""


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
    with torch.no_grad():
        model.coefficients.mul_(cfg.classifier.initial_scale)
    _start_backbone(model.trunk.backbone, cfg.trunk)
    return _channels_last(model), spec


def segmenter(cfg: Config, classes: tuple[str, ...]) -> tuple[Segmenter, SegmenterSpec]:
    """A segmenter to train: released weights, or initial ones in its backbone and fresh ones elsewhere."""
    spec = _segmenter_spec(cfg, classes)
    model = build_segmenter(spec)
    weights = cfg.segmenter.weights
    _, _, released = weights.partition("released:")
    if released:
        for line in start_from_released(model, path=Path(released), spec=spec):
            remark(f"segmenter.weights={weights}: {line}")
    else:
        _start_backbone(model.trunk.backbone, cfg.trunk)
    return _channels_last(model), spec


def deeplab(cfg: Config, classes: tuple[str, ...]) -> tuple[DeepLab, DeepLabSpec]:
    """A DeepLab to train: initial weights in its backbone, fresh ones in its head."""
    node = cfg.segmenter.deeplab
    trunk = _deeplab_trunk(cfg) if node.backbone is DeepLabBackbone.trunk else None
    spec = DeepLabSpec(
        backbone=node.backbone.value,
        classes=classes,
        frozen_norm=node.frozen_norm,
        mean=trunk.mean if trunk else IMAGENET_MEAN,
        std=trunk.std if trunk else IMAGENET_STD,
        trunk=trunk,
    )
    model = build_deeplab(spec)
    if isinstance(model.backbone, Backbone):
        _start_backbone(model.backbone, cfg.trunk)
    else:
        load_resnet_weights(model, name=node.backbone.value, source=node.weights)
    return _channels_last(model), spec


def recipe(cfg: Config) -> dict[str, Any]:
    """What training depends on beside its own config node, for its manifest."""
    return {"trunk": as_plain(cfg.trunk), "seed": cfg.seed, "precision": cfg.runtime.precision.value}


def trained(cfg: Config, artifact: str) -> Path:
    """The file of a trained network: of the one that `model` names, else of this run's artifact."""
    return network_file(Path(cfg.model) if cfg.model else cfg.input(artifact))


def told(cfg: Config) -> Told:
    """What the config says of a released file that `model` names."""
    if not cfg.model:
        return Told()
    names = () if cfg.predictions or cfg.classes is None else class_names(cfg.classes)
    if cfg.released is ReleasedNetwork.auto:
        return Told(classes=names)
    if cfg.released is not ReleasedNetwork.config:
        return Told(cfg.released.value, names)
    spec = _segmenter_spec(cfg, COCO)  # the file's own number of classes is read off it
    return Told(replace(spec, trunk=replace(spec.trunk, frozen_norm=True)), names)


def predictor(cfg: Config, place: Path, *, wanted: Sequence[str] = ()) -> Predictor:
    """The segmenter of a folder or file, with this config's settings for prediction, on this run's device.

    `wanted` are the classes to find, all where there are none.
    """
    tested = cfg.segmenter.deeplab
    model, spec = load_network(place, threads=cfg.runtime.threads, told=told(cfg))
    return Predictor(
        model=model,
        spec=spec,
        device=accelerator(cfg).device,
        score_threshold=cfg.segmenter.score_threshold,
        iou_threshold=cfg.segmenter.nms_iou,
        max_detections=cfg.segmenter.max_detections,
        cross_class=cfg.segmenter.cross_class,
        wanted=wanted,
        scales=tested.test_scales if isinstance(spec, DeepLabSpec) else [1.0],
        flip=tested.test_flip and isinstance(spec, DeepLabSpec),
        form=inference_form(cfg),
        calibrate=cfg.runtime.calibrate,
    )


def inference_form(cfg: Config) -> Form:
    """In which precision, and whether compiled, networks run that do not learn."""
    return Form(cfg.runtime.precision.value, cfg.runtime.compile)


def precision_settings(cfg: Config) -> list[str]:
    """What a fingerprint of labels or predictions holds of the precision: nothing of fp32, the only one once."""
    precision = cfg.runtime.precision
    return [] if precision is Precision.fp32 else [precision.value]


def drawing(cfg: Config, predictor: Predictor) -> Predictor:
    """The same segmenter for what is to be drawn: the best and surest alone."""
    shown = copy(predictor)
    shown.score_threshold = shown.least_score = cfg.predict.score_threshold
    shown.max_detections = cfg.predict.top_k
    return shown


def transform(cfg: AugmentConfig) -> v2.Compose:
    """Training augmentation."""
    return training_transform(crop=cfg.crop, long_side=cfg.long_side, flip=cfg.flip, jitter=cfg.jitter)


def instance_transform(cfg: SegmenterConfig, *, mean: list[float]) -> v2.Compose:
    """YOLACT's training augmentation, of either kind; `mean` is the colour around photos of its own."""
    node = cfg.augment
    if node.kind is AugmentKind.crop:
        return transform(node)
    return transforms.yolact_transform(
        size=cfg.image_size,
        flip=node.flip,
        jitter=node.jitter,
        expand=node.expand,
        overlap=node.crop_overlap,
        mean=mean,
        antialias=cfg.antialias,
    )


def semantic_transform(cfg: SegmenterConfig) -> v2.Compose:
    """DeepLab's training augmentation; padding is ignored."""
    node = cfg.augment
    return transforms.semantic_transform(crop=node.crop, scale=cfg.deeplab.scale, flip=node.flip, jitter=node.jitter)


def scaled_with_batch(node: Trained) -> Trained:
    """Rate and steps for the batch size that there is, where they are meant for another one."""
    base = node.optim.base_batch
    if not base or base == node.batch:
        return node
    factor = node.batch / base
    steps, rate = max(1, round(node.steps / factor)), node.optim.lr * factor
    told = f"{steps} steps at {rate:g} in place of {node.steps} at {node.optim.lr:g}"
    remark(f"batch {node.batch} in place of {base}: {told} (optim.base_batch)")
    made = replace(node, steps=steps, optim=replace(node.optim, lr=rate, base_batch=0))
    return replace(made, start=round(node.start / factor)) if isinstance(node, SegmenterConfig) else made


def remaining(node: SegmenterConfig) -> SegmenterConfig:
    """The steps that are left to do. Raises `UserError` where there are none."""
    if node.start >= node.steps:
        raise UserError(f"segmenter.start={node.start}: of segmenter.steps={node.steps} none is left to do")
    return replace(node, steps=node.steps - node.start)


def _segmenter_spec(cfg: Config, classes: tuple[str, ...]) -> SegmenterSpec:
    node = cfg.segmenter
    height, width = node.image_size
    return SegmenterSpec(
        trunk=_trunk_spec(cfg.trunk, batch=node.batch),
        classes=classes,
        image_size=(height, width),
        antialias=node.antialias,
        scales=tuple(tuple(level) for level in node.scales),
        ratios=tuple(node.ratios),
        square_anchors=node.square_anchors,
        design=node.design.value,
        mask_iou=node.mask_iou,
        tag_head=node.tag_weight > 0,
    )


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


def _deeplab_trunk(cfg: Config) -> TrunkSpec:
    """The trunk's network as DeepLab has it: dilated, and without the parts that make prototypes."""
    trunk = _trunk_spec(cfg.trunk, batch=cfg.segmenter.batch)
    return replace(trunk, output_stride=cfg.segmenter.deeplab.output_stride, head="identity")


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


def _start_backbone(backbone: Backbone, cfg: TrunkConfig) -> None:
    load_initial_weights(backbone, name=cfg.backbone, source=cfg.weights)
    told = other_normalization(cfg.backbone, mean=cfg.mean, std=cfg.std) if cfg.weights == "imagenet" else ""
    if told:
        remark(told)


def _channels_last(model: Model) -> Model:
    return model.to(memory_format=torch.channels_last)
