"""What each kind of segmenter is trained by: network, photos with masks, criterion."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from eps import build
from eps.checkpoints.yolact_specs import SPECS
from eps.data.datasets import InstanceDataset, SemanticDataset, join_labelled
from eps.data.layout import DatasetFolder
from eps.data.samples import MaskSource
from eps.data.sampling import by_hash
from eps.engine.checkpoint import load_classifier
from eps.engine.criteria import instance_counts, instance_losses, semantic_counts, semantic_losses
from eps.engine.descent import Losses
from eps.engine.predictor import Predictor
from eps.engine.progress import remark
from eps.errors import UserError
from eps.models.deeplab import DeepLab
from eps.models.segmenter import Segmenter
from eps.models.spec import DeepLabSpec, SegmenterSpec
from eps.schema import Config
from eps.schema.segmenter import Supervision

MIN_AREA = 16
"""Pixels that a crop must leave of a pseudo-instance; of a true one `augment.min_side` alone decides."""
PHOTOS_MEASURED = 8
MIN_MASK_SIDE = 1.0
"""Prototype pixels that a box counts as at least, where our own design's masks are learnt."""


class Task(NamedTuple):
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


def yolact(cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: MaskSource) -> Task:
    """Our segmenter, or YOLACT's, to be trained on the photos `ids`."""
    node = cfg.segmenter
    model, spec = build.segmenter(cfg, folder.classes)
    for line in oddities(spec):
        remark(line)
    if node.warm_start:
        _warm_start(model, cfg, folder.classes)
        if node.scaled_coefficients and spec.design == "shared":
            spec = _scaled(model, spec, [folder.photo(photo) for photo in by_hash(ids, most=PHOTOS_MEASURED)])
    transform = build.instance_transform(node, mean=cfg.trunk.mean)
    return Task(
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
            cache_mb=cfg.runtime.cache_mb,
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


def deeplab(cfg: Config, folder: DatasetFolder, ids: Sequence[str], masks: MaskSource) -> Task:
    """DeepLab, to be trained on the photos `ids`."""
    model, spec = build.deeplab(cfg, folder.classes)
    transform = build.semantic_transform(cfg.segmenter)
    return Task(
        model=model,
        spec=spec,
        last=list(model.head.parameters()),
        dataset=SemanticDataset(
            folder=folder, ids=ids, masks=masks, transform=transform, cache_mb=cfg.runtime.cache_mb
        ),
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


def _scaled(model: Segmenter, spec: SegmenterSpec, photos: Iterable[Image.Image]) -> SegmenterSpec:
    """Let mask coefficients be at most one over the standard deviation of the planes that stage 1 has trained, or 1.

    To two digits: what is measured differs by rounding from machine to machine.
    """
    predictor = Predictor(model=model, spec=spec, device=torch.device("cpu"))
    planes = torch.cat([predictor.run(photo).prototypes for photo in photos])
    scale = float(f"{1 / max(float(planes.std()), 1):.2g}")
    model.box_head.coefficient_scale = scale
    return replace(spec, coefficient_scale=scale)


def oddities(spec: SegmenterSpec) -> Iterator[str]:
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
