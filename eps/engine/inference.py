"""Localization maps over scales and flips, and what a segmenter's raw output says of a photo."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from eps.engine.instances import Instances
from eps.models.segmenter import SegmenterOutput
from eps.ops.assembly import photo_labels, photo_masks
from eps.ops.boxes import decode
from eps.ops.detection import detect
from eps.ops.localization import normalize_maps
from eps.ops.masks import cropped_masks, pixel_boxes
from eps.ops.nms import Detections, best_first_nms, cross_class_fast_nms


@runtime_checkable
class Localizer(Protocol):
    """A classifier as inference needs it: see `eps.models.classifier.Classifier`."""

    def normalize(self, photos: Tensor) -> Tensor: ...

    def localization(self, images: Tensor, *, size: tuple[int, int], classes: Sequence[int]) -> Tensor: ...


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
    tags = torch.as_tensor(labels)
    [maps] = localize_together(model, [photo], [tags], scales=scales, flip=flip, device=tags.device)
    return maps


@torch.inference_mode()
def localize_together(
    model: Localizer,
    photos: Sequence[Image.Image],
    labels: Sequence[Shaped[Tensor, " c"]],
    *,
    scales: Sequence[float | int],
    flip: bool,
    device: torch.device,
) -> list[Float[Tensor, "c H W"]]:
    """What `localize` gives for each of several photos of one size: one pass of the network a scale, flips included.

    Only maps of classes that one of the photos is tagged with are enlarged; without any the network is not asked.
    """
    if not scales:
        raise ValueError("at least one scale is needed")
    tags = torch.stack([one.cpu() != 0 for one in labels])
    classes = tags.any(dim=0).nonzero()[:, 0].tolist()
    (width, height) = photos[0].size
    found = torch.zeros(len(photos), tags.shape[1], height, width, device=device)
    if classes:
        summed = _summed_maps(model, photos, classes, scales=scales, flip=flip, device=device)
        for one, maps, present in zip(found, summed, tags[:, classes].to(device), strict=True):
            one[classes] = normalize_maps(maps, present)
    return list(found)


def _summed_maps(
    model: Localizer,
    photos: Sequence[Image.Image],
    classes: Sequence[int],
    *,
    scales: Sequence[float | int],
    flip: bool,
    device: torch.device,
) -> Float[Tensor, "b k H W"]:
    width, height = photos[0].size
    total = torch.zeros(len(photos), len(classes), height, width, device=device)
    for scale in scales:
        images = torch.stack([as_tensor(_scaled(photo, scale)) for photo in photos]).to(device)
        views = torch.cat([images, images.flip(-1)]) if flip else images
        normalized = model.normalize(views.contiguous(memory_format=torch.channels_last))
        maps = model.localization(normalized, size=(height, width), classes=classes)
        total += maps[: len(photos)] + maps[len(photos) :].flip(-1) if flip else maps
    return total


def _scaled(photo: Image.Image, scale: float | int) -> Image.Image:
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo if size == photo.size else photo.resize(size, Image.Resampling.BICUBIC)


def as_tensor(photo: Image.Image) -> Float[Tensor, "3 H W"]:
    """An RGB photo as floats in 0..1."""
    return torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1).float() / 255


def detections_of(
    output: SegmenterOutput,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    cross_class: bool = False,
    least_score: float = 0.0,
    classes: Collection[int] | None = None,
) -> list[Detections]:
    """Boxes, scores, classes and mask coefficients of each photo of a batch (YOLACT, section 3).

    With `cross_class` a box suppresses those of other classes too. Of `classes` alone, where given, are the best
    `max_detections`; the others have suppressed what they suppress by then. An anchor that passes `score_threshold`
    with one class stands for every class: what scores less than `least_score` is left out.

    A GPU takes the batch at once, in fixed shapes, and waits once. A CPU looks at the best scores of each photo first.
    """
    if output.logits.device.type == "cpu":
        most = max_detections if classes is None else output.logits[0].numel()
        nms = cross_class_fast_nms if cross_class else partial(best_first_nms, max_detections=most)
        suppress = partial(nms, score_threshold=score_threshold, iou_threshold=iou_threshold)
        found = [suppress(*_candidates(output, index)) for index in range(len(output.logits))]
        return [_chosen(part, max_detections, least_score=least_score, classes=classes) for part in found]
    return detect(
        output.offsets,
        output.logits,
        output.coefficients,
        output.anchors,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        cross_class=cross_class,
        least_score=least_score,
        wanted=None if classes is None else _marked(classes, output.logits),
    ).split()


def _candidates(output: SegmenterOutput, index: int) -> tuple[Tensor, Tensor, Tensor]:
    probabilities = output.logits[index].float().softmax(dim=-1)[:, 1:].T
    return decode(output.offsets[index], output.anchors), probabilities, output.coefficients[index]


def _chosen(found: Detections, most: int, *, least_score: float, classes: Collection[int] | None) -> Detections:
    kept = found.scores >= least_score
    if classes is not None:
        kept &= torch.isin(found.classes, found.classes.new_tensor(sorted(classes)))
    return Detections(*(part[kept][:most] for part in found))


def _marked(classes: Collection[int], logits: Float[Tensor, "b n c1"]) -> Bool[Tensor, " c"]:
    marked = torch.zeros(logits.shape[2] - 1, dtype=torch.bool)
    marked[sorted(classes)] = True
    return marked.to(logits.device)


def instances_of(
    found: Detections,
    prototypes: Float[Tensor, "k h w"],
    *,
    size: tuple[int, int],
    class_names: Sequence[str] = (),
    mask_scorer: Callable[[Tensor], Tensor] | None = None,
    whole_pixels: bool = False,
) -> Instances:
    """A photo's detections with their masks, at `size` (height, width) (YOLACT, section 3).

    `class_names` are those of all classes; `mask_scorer` is the model's mask-IoU net, if it has one (YOLACT++, section
    6.1). With `whole_pixels` boxes are cut down to those, as the released code hands them out; masks are the same.
    """
    mask_scores = found.scores
    if mask_scorer is not None:
        masks = cropped_masks(prototypes, found.coefficients, found.boxes)
        mask_scores = mask_scores * mask_scorer(masks[:, None]).gather(1, found.classes[:, None])[:, 0]
    height, width = size
    edges = found.boxes.new_tensor([width, height, width, height])
    exact = found.boxes.clamp(0, 1) * edges
    return Instances(
        boxes=pixel_boxes(found.boxes, size=size).to(exact.dtype) if whole_pixels else exact,
        scores=found.scores,
        classes=found.classes,
        masks=photo_masks(prototypes, found.coefficients, found.boxes, size=size),
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
    return photo_labels(output.semantic[index : index + 1], size=size)[0]
