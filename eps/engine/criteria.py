"""What a training step of each segmenter costs: where a model's output meets the losses."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import masks_to_boxes

from eps.data.samples import LabelledPhotos, PhotoInstances
from eps.engine.loop import Losses
from eps.losses.masks import semantic_cross_entropy
from eps.losses.multibox import Targets, multibox_loss
from eps.models.deeplab import DeepLabOutput
from eps.models.segmenter import SegmenterOutput
from eps.ops.pseudo_labels import IGNORE

Normalize = Callable[[Tensor], Tensor]


def instance_losses(
    model: nn.Module,
    batch: Sequence[PhotoInstances],
    step: int,
    *,
    normalize: Normalize,
    box_weight: float,
    class_weight: float,
    mask_weight: float,
    semantic_weight: float,
    mask_iou_weight: float,
    masks_per_image: int,
    mask_scorer: nn.Module | None,
    sigmoid_maps: bool,
) -> Losses:
    """YOLACT's terms and that of the semantic map; what is drawn at random depends on `step` alone.

    With `sigmoid_maps` the semantic term is YOLACT's, a binary cross-entropy a class, otherwise a softmax with the
    background. `mask_scorer` is the model's mask-IoU net, if it has one (YOLACT++).
    """
    photos = torch.stack([sample.photo for sample in batch])
    output: SegmenterOutput = model(normalize(photos))
    instances = multibox_loss(
        output.offsets,
        output.logits,
        output.coefficients,
        output.prototypes,
        output.anchors,
        [_targets(sample) for sample in batch],
        semantic=output.semantic[:, :-1] if sigmoid_maps else None,
        mask_scorer=mask_scorer,
        generator=torch.Generator().manual_seed(step),
        masks_per_image=masks_per_image,
        box_weight=box_weight,
        classification_weight=class_weight,
        mask_weight=mask_weight,
        semantic_weight=semantic_weight,
        mask_iou_weight=mask_iou_weight,
    )
    terms = {
        "box": instances.box,
        "class": instances.classification,
        "mask": instances.mask,
        "semantic": instances.semantic,
    }
    if not sigmoid_maps:
        labels = torch.stack([sample.semantic for sample in batch])
        terms["semantic"] = semantic_weight * semantic_cross_entropy(output.semantic, labels)
    if mask_scorer is not None:
        terms["mask_iou"] = instances.mask_iou
    return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)


def semantic_losses(model: nn.Module, batch: LabelledPhotos, step: int, *, normalize: Normalize) -> Losses:
    """The cross-entropy of DeepLab's maps, ignored pixels left out (DeepLab-v2, section 4.1.2)."""
    output: DeepLabOutput = model(normalize(batch.photos))
    loss = semantic_cross_entropy(output.semantic, batch.labels)
    return Losses(total=loss, terms={"semantic": loss})


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
