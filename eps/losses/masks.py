"""YOLACT's mask, mask-IoU and semantic terms, and the semantic cross-entropy of our own segmenter."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from eps.ops.masks import crop, cropped_masks
from eps.ops.prototypes import assemble
from eps.ops.pseudo_labels import IGNORE

SMALLEST_AREA = 1e-12
"""Of a truth box, in prototype pixels: a smaller one is none, and dividing by it would leave float32's range."""


def mask_loss(
    prototypes: Float[Tensor, "k h w"],
    coefficients: Float[Tensor, "p k"],
    index: Integer[Tensor, " p"],
    boxes: Float[Tensor, "m 4"],
    masks: Bool[Tensor, "m height width"],
    *,
    ignore: Bool[Tensor, "height width"] | None = None,
    limit: int = 100,
    min_side: float = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of the positive anchors' masks within their truth boxes, over box area, summed.

    Coefficients belong to the positives, `index` names each one's truth: a row of `boxes` (corner form, relative) and
    of `masks`. More than `limit` positives are sampled with the generator, and the sum is scaled back up. What lies
    outside the box, widened by one prototype pixel, counts nothing, nor does a pixel drawing on an ignored one.
    A box narrower or lower than `min_side` prototype pixels counts as so wide or high, so that a tiny truth cannot
    outweigh all others; at 0, as released, boxes count as they are, and one without area costs nothing.
    Source: YOLACT section 3.2, L_mask, divided by the truth's area as in section 3.3.
    """
    chosen = _sample(len(index), limit=limit, generator=generator).to(index.device)
    truth = index[chosen]
    logits = assemble(prototypes[None], coefficients[chosen])[0]
    size = (logits.shape[1], logits.shape[2])
    cost = F.binary_cross_entropy_with_logits(logits, _shrink(masks, size).to(logits)[truth], reduction="none")
    if ignore is not None:
        cost = cost.masked_fill(_touched(ignore, size), 0.0)
    sides = (boxes[:, 2:] - boxes[:, :2]) * boxes.new_tensor([size[1], size[0]])
    area = sides.clamp(min=min_side).prod(dim=1)[truth]
    costs = crop(cost, boxes[truth]).sum(dim=(1, 2)) / area.clamp(min=SMALLEST_AREA)
    total = costs.masked_fill(area < SMALLEST_AREA, 0.0).sum()
    return total * (len(index) / max(len(chosen), 1))


def mask_iou_loss(
    prototypes: Float[Tensor, "k h w"],
    coefficients: Float[Tensor, "p k"],
    index: Integer[Tensor, " p"],
    boxes: Float[Tensor, "m 4"],
    masks: Bool[Tensor, "m height width"],
    classes: Integer[Tensor, " m"],
    *,
    scorer: Callable[[Tensor], Tensor],
    ignore: Bool[Tensor, "height width"] | None = None,
    limit: int = 100,
    min_area: int = 25,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Smooth L1 between the IoU that `scorer` reads off the positives' masks and the one they have, summed.

    `scorer` takes masks (n, 1, h, w) in 0..1, cropped by their truth boxes, and gives (n, classes), of which the class
    of the truth counts (from 0); the gradient flows through it into the masks. The IoU they have is that of the mask
    above 0.5 with the truth at prototype resolution. Pixels that draw on ignored ones are in neither mask. Truths of
    `min_area` prototype pixels or fewer count nothing. The other arguments and the sampling are as for `mask_loss`.
    Source: YOLACT++ section 6.1 (fast mask re-scoring); the released YOLACT++ for crop and smallest area.
    """
    size = (prototypes.shape[1], prototypes.shape[2])
    goal = _shrink(masks, size)
    chosen = _sample(len(index), limit=limit, generator=generator).to(index.device)
    scale = len(index) / max(len(chosen), 1)
    chosen = chosen[(goal.sum(dim=(1, 2)) > min_area)[index[chosen]]]
    truth = index[chosen]
    found, wanted = cropped_masks(prototypes, coefficients[chosen], boxes[truth]), goal[truth]
    if ignore is not None:
        unknown = _touched(ignore, size)
        found, wanted = found.masked_fill(unknown, 0.0), wanted & ~unknown
    predicted = scorer(found[:, None]).gather(1, classes.long()[truth, None])[:, 0]
    inside = found.detach() > 0.5
    union = (inside | wanted).sum(dim=(1, 2)).clamp(min=1)
    overlap = (inside & wanted).sum(dim=(1, 2)) / union
    return F.smooth_l1_loss(predicted, overlap.to(predicted), reduction="sum") * scale


def semantic_bce(
    logits: Float[Tensor, "c h w"],
    masks: Bool[Tensor, "m height width"],
    classes: Integer[Tensor, " m"],
    *,
    ignore: Bool[Tensor, "height width"] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of one image's class maps with the union of each class's masks, per pixel of the map.

    Logits have no background, classes count from 0. Summed over classes and pixels that draw on no ignored one, then
    divided by h * w.
    Source: YOLACT section 3.4 (semantic segmentation loss).
    """
    size = (logits.shape[1], logits.shape[2])
    target = torch.zeros_like(logits).index_add_(0, classes.long(), _shrink(masks, size).to(logits)).clamp_(max=1.0)
    cost = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if ignore is not None:
        cost = cost.masked_fill(_touched(ignore, size), 0.0)
    return cost.sum() / (size[0] * size[1])


def semantic_cross_entropy(
    logits: Float[Tensor, "b c h w"],
    labels: Integer[Tensor, "b height width"],
    *,
    count: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Softmax cross-entropy of class maps with a label map, averaged over the pixels that are not ignored.

    Logits have the background last and are resized bilinearly to the labels. Labels are 0 for background, class + 1,
    255 for ignore. Where every pixel is ignored the loss is zero and so is its gradient. `count` replaces the number of
    pixels that the loss is divided by, for a batch that is part of a larger one.
    Source: the pixel-wise loss of FCN (Long et al., CVPR 2015, section 4.3).
    """
    height, width = labels.shape[1:]
    resized = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
    labels = labels.long()
    target = torch.where(labels == 0, logits.shape[1] - 1, labels - 1).masked_fill(labels == IGNORE, IGNORE)
    total = F.cross_entropy(resized, target, ignore_index=IGNORE, reduction="sum")
    return total / ((labels != IGNORE).sum().clamp(min=1) if count is None else count)


def _sample(count: int, *, limit: int, generator: torch.Generator | None) -> Integer[Tensor, " chosen"]:
    """Indices of at most `limit` of `count` things, drawn at random only where there are more."""
    if count <= limit:
        return torch.arange(count)
    device = "cpu" if generator is None else generator.device
    return torch.randperm(count, generator=generator, device=device)[:limit]


def _shrink(masks: Bool[Tensor, "m height width"], size: tuple[int, int]) -> Bool[Tensor, "m h w"]:
    """Masks at the prototypes' size."""
    return F.interpolate(masks[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0] > 0.5


def _touched(ignore: Bool[Tensor, "height width"], size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """The pixels at the prototypes' size whose truth draws on an ignored pixel."""
    return F.interpolate(ignore[None, None].float(), size=size, mode="bilinear", align_corners=False)[0, 0] > 0
