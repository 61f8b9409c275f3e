"""Localization maps over scales and flips, and what a segmenter's raw output says of a photo."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, Shaped, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from eps.models.segmenter import SegmenterOutput
from eps.ops.boxes import decode
from eps.ops.localization import normalize_maps
from eps.ops.masks import instance_masks
from eps.ops.nms import Detections, fast_nms


@runtime_checkable
class Localizer(Protocol):
    """A classifier as inference needs it: see `eps.models.classifier.Classifier`."""

    def normalize(self, photos: Tensor) -> Tensor: ...

    def localization(self, images: Tensor) -> Tensor: ...


@torch.inference_mode()
def localize(
    model: Localizer,
    image: Image.Image | UInt8[np.ndarray, "H W 3"],
    labels: Shaped[Tensor, " c"],
    *,
    scales: Sequence[float],
    flip: bool,
) -> Float[Tensor, "c H W"]:
    """Localization maps of one photo, in 0..1 and zero for classes that it is not tagged with.

    The photo is resized to each scale (Pillow, bicubic, size rounded), maps come back to its size bilinearly and are
    summed over scales and flips; each present class is divided by its maximum + 1e-5. Source: EPS, inference.
    """
    photo = image if isinstance(image, Image.Image) else Image.fromarray(image)
    total = _summed_maps(model, photo, scales=scales, flip=flip, device=labels.device)
    return normalize_maps(total, labels)


def _summed_maps(
    model: Localizer, photo: Image.Image, *, scales: Sequence[float], flip: bool, device: torch.device
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


class Instances(NamedTuple):
    """What a segmenter found in one photo, best first."""

    boxes: Float[Tensor, "n 4"]
    """Pixels, xyxy."""
    scores: Float[Tensor, " n"]
    classes: Integer[Tensor, " n"]
    masks: Bool[Tensor, "n H W"]


def detections_of(
    output: SegmenterOutput, index: int, *, score_threshold: float, iou_threshold: float, max_detections: int
) -> Detections:
    """Boxes, scores, classes and mask coefficients of photo `index` of a batch (YOLACT, section 3)."""
    return fast_nms(
        decode(output.offsets[index], output.anchors),
        output.logits[index].softmax(dim=-1)[:, 1:].T,
        output.coefficients[index],
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
    )


def instances_of(
    output: SegmenterOutput,
    index: int,
    *,
    size: tuple[int, int],
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
) -> Instances:
    """Boxes, scores, classes and masks of photo `index` of a batch, at `size` (height, width) (YOLACT, section 3)."""
    found = detections_of(
        output,
        index,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
    )
    masks = instance_masks(output.prototypes[index], found.coefficients, found.boxes, size=size)
    height, width = size
    edges = found.boxes.new_tensor([width, height, width, height])
    return Instances((found.boxes.clamp(0, 1) * edges), found.scores, found.classes, masks)


def semantic_labels(output: SegmenterOutput, index: int, *, size: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    """The best class + 1 of each pixel of photo `index`, 0 for background, at `size` (height, width)."""
    maps = F.interpolate(output.semantic[index : index + 1], size=size, mode="bilinear", align_corners=False)[0]
    return ((maps.argmax(dim=0) + 1) % maps.shape[0]).to(torch.uint8)
