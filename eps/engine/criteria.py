"""What a training step of each segmenter costs: where a model's output meets the losses."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import masks_to_boxes

from eps.data.samples import LabelledPhotos, PhotoInstances
from eps.engine.descent import Losses
from eps.losses.classification import tag_loss
from eps.losses.masks import semantic_cross_entropy
from eps.losses.multibox import Targets, count_positives, multibox_loss
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
    tag_weight: float,
    masks_per_image: int,
    min_mask_side: float,
    mask_scorer: nn.Module | None,
    sigmoid_maps: bool,
    counted: Float[Tensor, " 2"] | None = None,
) -> Losses:
    """YOLACT's terms and that of the semantic map; what is drawn at random depends on `step` alone.

    `counted` replaces the numbers of positives and of pixels that terms are divided by (see `instance_counts`). With
    `sigmoid_maps` the semantic term is YOLACT's, a binary cross-entropy a class, otherwise a softmax with the
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
        min_mask_side=min_mask_side,
        box_weight=box_weight,
        classification_weight=class_weight,
        mask_weight=mask_weight,
        semantic_weight=semantic_weight,
        mask_iou_weight=mask_iou_weight,
        count=None if counted is None else counted[0],
    )
    terms = {
        "box": instances.box,
        "class": instances.classification,
        "mask": instances.mask,
        "semantic": instances.semantic,
    }
    if not sigmoid_maps:
        labels = torch.stack([sample.semantic for sample in batch])
        pixels = None if counted is None else counted[1]
        terms["semantic"] = semantic_weight * semantic_cross_entropy(output.semantic, labels, count=pixels)
    if mask_scorer is not None:
        terms["mask_iou"] = instances.mask_iou
    if output.tags is not None:
        terms["tags"] = tag_weight * tag_loss(output.tags, torch.stack([sample.tags for sample in batch]))
    return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)


def instance_counts(
    batch: Sequence[PhotoInstances], *, anchors: Callable[[tuple[int, int]], Float[Tensor, "n 4"]]
) -> Float[Tensor, " 2"]:
    """What the terms of `instance_losses` are divided by: positive anchors, and pixels that are not ignored.

    `anchors` gives those of a photo of a size (height, width).
    """
    height, width = batch[0].semantic.shape
    all_anchors = anchors((height, width)).to(batch[0].photo.device)
    positives = count_positives(all_anchors, [_targets(sample) for sample in batch])
    pixels = torch.stack([(sample.semantic != IGNORE).sum() for sample in batch]).sum()
    return torch.stack([positives, pixels]).float()


def semantic_losses(
    model: nn.Module,
    batch: LabelledPhotos,
    step: int,
    *,
    normalize: Normalize,
    counted: Float[Tensor, " 1"] | None = None,
) -> Losses:
    """The cross-entropy of DeepLab's maps, ignored pixels left out (DeepLab-v2, section 4.1.2).

    `counted` replaces the number of pixels that it is divided by (see `semantic_counts`).
    """
    output: DeepLabOutput = model(normalize(batch.photos))
    loss = semantic_cross_entropy(output.semantic, batch.labels, count=None if counted is None else counted[0])
    return Losses(total=loss, terms={"semantic": loss})


def semantic_counts(batch: LabelledPhotos) -> Float[Tensor, " 1"]:
    """What `semantic_losses` divides by: pixels that are not ignored."""
    return (batch.labels != IGNORE).sum().float()[None]


def _targets(sample: PhotoInstances) -> Targets:
    height, width = sample.semantic.shape
    corners = masks_to_boxes(sample.masks)
    corners[:, 2:] += 1  # what it gives is the last pixel; a box ends at that pixel's far edge
    return Targets(
        boxes=corners / corners.new_tensor([width, height, width, height]),
        classes=sample.classes,
        masks=sample.masks,
        crowd=sample.uncertain,
        ignore=sample.semantic == IGNORE,
    )
