"""From a batch's raw output to its detections in tensors of fixed shape: nothing waits for the host.

So a graph compiler can take it whole, and a CUDA graph can record it. `eps.ops.nms` says the same of one image, with
shapes that depend on what is found.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from eps.ops.boxes import decode
from eps.ops.nms import Detections, highest, overlapped


class DetectionBatch(NamedTuple):
    """What is seen in each image, best first, filled up with zeros where `valid` is false; see `Detections`."""

    boxes: Float[Tensor, "b d 4"]
    scores: Float[Tensor, "b d"]
    classes: Integer[Tensor, "b d"]
    coefficients: Float[Tensor, "b d k"]
    valid: Bool[Tensor, "b d"]

    def split(self) -> list[Detections]:
        """The detections of each image, cut to what is valid: here the host waits, once for the batch."""
        counts = self.valid.sum(dim=1).tolist()
        return [Detections(*(part[i, :count] for part in self[:4])) for i, count in enumerate(counts)]


def detect(
    offsets: Float[Tensor, "b n 4"],
    logits: Float[Tensor, "b n c1"],
    coefficients: Float[Tensor, "b n k"],
    anchors: Float[Tensor, "n 4"],
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    top_k: int = 200,
    max_detections: int = 100,
    cross_class: bool = False,
    least_score: float = 0.0,
    wanted: Bool[Tensor, " c"] | None = None,
) -> DetectionBatch:
    """Decode and suppress, logits with the background first. The options are those of `suppress`.

    Source: YOLACT section 3, SSD equation 2.
    """
    return suppress(
        decode(offsets.float(), anchors),
        logits.float().softmax(dim=-1)[..., 1:].transpose(1, 2),
        coefficients,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        top_k=top_k,
        max_detections=max_detections,
        cross_class=cross_class,
        least_score=least_score,
        wanted=wanted,
    )


def suppress(
    boxes: Float[Tensor, "b n 4"],
    scores: Float[Tensor, "b c n"],
    coefficients: Float[Tensor, "b n k"],
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    top_k: int = 200,
    max_detections: int = 100,
    cross_class: bool = False,
    least_score: float = 0.0,
    wanted: Bool[Tensor, " c"] | None = None,
) -> DetectionBatch:
    """Fast NMS of every image: what `eps.ops.nms.fast_nms` (or, with `cross_class`, its cross-class form) finds.

    Scores are float32 and not negative. Detections that score less than `least_score`, or are of a class that is not
    `wanted`, are left out after they have suppressed others. Equal scores keep the order of anchors.
    Source: YOLACT section 3.4 (Fast NMS).
    """
    classes = torch.arange(scores.shape[1], device=scores.device)[None, :, None].expand(scores.shape)
    candidates = scores.amax(dim=1, keepdim=True) > score_threshold
    if cross_class:
        scores, classes = scores.max(dim=1, keepdim=True)
    ranked, anchor = highest(torch.where(candidates, scores, -1.0), top_k)
    classes = classes.gather(2, anchor).flatten(1)
    kept = ~overlapped(_rows(boxes, anchor), iou_threshold=iou_threshold) & (ranked >= least_score)
    found = torch.where(kept, ranked, -1.0).flatten(1)
    if wanted is not None:
        found = torch.where(wanted[classes], found, -1.0)
    found, order = highest(found, max_detections)
    chosen, valid = anchor.flatten(1).gather(1, order), found >= 0
    return DetectionBatch(
        _rows(boxes, chosen) * valid[..., None],
        found.clamp(min=0),
        classes.gather(1, order) * valid,
        _rows(coefficients, chosen) * valid[..., None],
        valid,
    )


def _rows(table: Float[Tensor, "b n d"], index: Integer[Tensor, "b *m"]) -> Float[Tensor, "b *m d"]:
    """Rows of each image's own table."""
    flat = index.flatten(1)[..., None].expand(-1, -1, table.shape[-1])
    return table.gather(1, flat).view(*index.shape, table.shape[-1])
