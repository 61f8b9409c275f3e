"""Localization maps over scales and flips, and what a segmenter's raw output says of a photo."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from eps.engine.instances import Instances
from eps.models.segmenter import SegmenterOutput
from eps.ops.boxes import decode
from eps.ops.localization import normalize_maps
from eps.ops.masks import cropped_masks, enlarge
from eps.ops.nms import Detections, cross_class_fast_nms, fast_nms


@runtime_checkable
class Localizer(Protocol):
    """A classifier as inference needs it: see `eps.models.classifier.Classifier`."""

    def normalize(self, photos: Tensor) -> Tensor: ...

    def localization(self, images: Tensor) -> Tensor: ...


@torch.inference_mode()
def localize(
    model: Localizer,
    image: Image.Image | UInt8[np.ndarray, "H W 3"],
    labels: Shaped[Tensor | np.ndarray, " c"],
    *,
    scales: Sequence[float | int],
    flip: bool,
) -> Float[Tensor, "c H W"]:
    """Localization maps of one photo, in 0..1 and zero for classes that it is not tagged with.

    The photo is resized to each scale (Pillow, bicubic, size rounded), maps come back to its size bilinearly and are
    summed over scales and flips; each present class is divided by its maximum + 1e-5. Source: EPS, inference.
    """
    photo = image if isinstance(image, Image.Image) else Image.fromarray(image)
    labels = torch.as_tensor(labels)
    total = _summed_maps(model, photo, scales=scales, flip=flip, device=labels.device)
    return normalize_maps(total, labels)


def _summed_maps(
    model: Localizer, photo: Image.Image, *, scales: Sequence[float | int], flip: bool, device: torch.device
) -> Tensor:
    total: Tensor | None = None
    for scale in scales:
        size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
        scaled = photo if size == photo.size else photo.resize(size, Image.Resampling.BICUBIC)
        image = as_tensor(scaled)[None].to(device)
        batch = torch.cat([image, image.flip(-1)]) if flip else image
        batch = batch.contiguous(memory_format=torch.channels_last)
        maps = model.localization(model.normalize(batch))
        maps = F.interpolate(maps, size=(photo.height, photo.width), mode="bilinear", align_corners=False)
        merged = maps[0] + maps[1].flip(-1) if flip else maps[0]
        total = merged if total is None else total + merged
    if total is None:
        raise ValueError("at least one scale is needed")
    return total


def as_tensor(photo: Image.Image) -> Float[Tensor, "3 H W"]:
    """An RGB photo as floats in 0..1."""
    return torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1).float() / 255


def detections_of(
    output: SegmenterOutput,
    index: int,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    cross_class: bool = False,
    least_score: float = 0.0,
    classes: Collection[int] | None = None,
) -> Detections:
    """Boxes, scores, classes and mask coefficients of photo `index` of a batch (YOLACT, section 3).

    With `cross_class` a box suppresses those of other classes too. Of `classes` alone, where given, are the best
    `max_detections`; the others have suppressed what they suppress by then. An anchor that passes `score_threshold`
    with one class stands for every class: what scores less than `least_score` is left out.
    """
    raw = (
        decode(output.offsets[index], output.anchors),
        output.logits[index].softmax(dim=-1)[:, 1:].T,
        output.coefficients[index],
    )
    if cross_class:
        found = cross_class_fast_nms(*raw, score_threshold=score_threshold, iou_threshold=iou_threshold)
    else:
        most = max_detections if classes is None else raw[1].numel()
        found = fast_nms(*raw, score_threshold=score_threshold, iou_threshold=iou_threshold, max_detections=most)
    kept = found.scores >= least_score
    if classes is not None:
        kept &= torch.isin(found.classes, found.classes.new_tensor(sorted(classes)))
    return Detections(*(part[kept][:max_detections] for part in found))


def instances_of(
    output: SegmenterOutput,
    index: int,
    *,
    size: tuple[int, int],
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    cross_class: bool = False,
    least_score: float = 0.0,
    classes: Collection[int] | None = None,
    class_names: Sequence[str] = (),
    mask_scorer: Callable[[Tensor], Tensor] | None = None,
) -> Instances:
    """Boxes, scores, classes and masks of photo `index` of a batch, at `size` (height, width) (YOLACT, section 3).

    `class_names` are those of all classes; `mask_scorer` is the model's mask-IoU net, if it has one (YOLACT++, section
    6.1).
    """
    found = detections_of(
        output,
        index,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        cross_class=cross_class,
        least_score=least_score,
        classes=classes,
    )
    masks = cropped_masks(output.prototypes[index], found.coefficients, found.boxes)
    mask_scores = found.scores
    if mask_scorer is not None:
        mask_scores = mask_scores * mask_scorer(masks[:, None]).gather(1, found.classes[:, None])[:, 0]
    height, width = size
    edges = found.boxes.new_tensor([width, height, width, height])
    return Instances(
        boxes=found.boxes.clamp(0, 1) * edges,
        scores=found.scores,
        classes=found.classes,
        masks=enlarge(masks, size=size),
        mask_scores=mask_scores,
        class_names=tuple(class_names),
    )


def semantic_probabilities(maps: Float[Tensor, "b c1 h w"], *, size: tuple[int, int]) -> Float[Tensor, "b c1 H W"]:
    """Softmax of semantic map logits (background last) at `size` (height, width), the background FIRST.

    So a channel's number is its value in a label map: 0 for background, class + 1.
    """
    enlarged = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return enlarged.softmax(dim=1).roll(1, dims=1)


def semantic_labels(output: SegmenterOutput, index: int, *, size: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    """The best class + 1 of each pixel of photo `index`, 0 for background, at `size` (height, width)."""
    maps = F.interpolate(output.semantic[index : index + 1], size=size, mode="bilinear", align_corners=False)[0]
    return ((maps.argmax(dim=0) + 1) % maps.shape[0]).to(torch.uint8)
