"""Detection: offsets and logits of every anchor to the best boxes; `python -m benchmarks.detection`.

The plain form takes one image at a time, every score of every class (`eps.ops.nms.fast_nms`). Ours is what
`eps.engine.predictor` uses on the device: on a GPU the batch at once in fixed shapes (`eps.ops.detection.detect`), on a
CPU the best scores of each image first (`eps.ops.nms.best_first_nms`); `fixed` is the former on either. torchvision's
`batched_nms`, greedy, is a peer: it finds other boxes, and has no part in the agreement.
"""

import argparse
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from benchmarks.harness import OURS, PLAIN, Call, Comparison, arguments, in_graphs, interleave, prepare, show
from eps.engine.inference import detections_of
from eps.models.segmenter import SegmenterOutput
from eps.ops.anchors import anchors
from eps.ops.boxes import decode
from eps.ops.detection import detect
from eps.ops.nms import Detections, fast_nms

PEER = "batched_nms"
MOST, THRESHOLD, IOU = 100, 0.05, 0.5
_UNUSED = torch.zeros(1, 1, 1, 1)


class Raw(NamedTuple):
    offsets: Tensor
    logits: Tensor
    coefficients: Tensor
    anchors: Tensor


def main() -> None:
    """Compare and print."""
    options = _options()
    device = prepare(options)
    raw = made(
        batch=options.batch,
        classes=options.classes,
        image=options.image,
        confident=options.confident,
        device=device,
    )
    calls: dict[str, Call] = {PLAIN: lambda: plain(raw), PEER: lambda: peer(raw), OURS: lambda: ours(raw)}
    if device.type == "cpu":
        calls["fixed"] = lambda: detect(*raw)
    agreement = min(agreement_of(plain(raw), found) for found in (ours(raw), detect(*raw).split()))
    timing = {"rounds": options.rounds, "warmup": options.warmup}
    times = interleave(calls, device=device, **timing)
    over = float((_probabilities(raw.logits).amax(dim=2) > THRESHOLD).sum(dim=1).double().mean())
    more: dict[str, object] = {"anchors": len(raw.anchors), "anchors_over_threshold": over}
    notes = [f"{len(raw.anchors)} anchors, {over:.0f} of an image over the threshold"]
    if device.type == "cuda":
        recorded = sorted(in_graphs({"fixed": lambda: detect(*raw)}, **timing)["fixed"])[options.rounds // 2]
        more["device_medians"] = {"fixed": recorded}
        notes.append(f"without the host, in a CUDA graph: {recorded:.4f} ms")
    settings = {name: getattr(options, name) for name in ("batch", "classes", "image", "confident")}
    found = Comparison(
        benchmark="detection", times=times, agreement=agreement, device=device, settings=settings, more=more
    )
    show(found, as_json=options.json, notes=notes)


def made(*, batch: int, classes: int, image: int, confident: float, device: torch.device) -> Raw:
    """YOLACT's anchors; some see a class, each with its neighbours, the others the background."""
    sides = [-(-image // stride) for stride in (8, 16, 32, 64, 128)]
    scales = tuple((24.0 * 2**level,) for level in range(5))
    where = anchors(grids=[(side, side) for side in sides], scales=scales, ratios=(1.0, 0.5, 2.0), size=(image,) * 2)
    count = len(where)
    logits = torch.randn(batch, count, classes + 1)
    logits[..., 0] += 12
    seen = torch.rand(batch, count) < confident
    seen_class = torch.randint(1, classes + 1, (batch, count))
    logits += 14 * (torch.nn.functional.one_hot(seen_class, classes + 1) * seen[..., None])
    offsets = torch.randn(batch, count, 4) * 0.5
    parts = (offsets, logits, torch.randn(batch, count, 32).tanh(), where)
    return Raw(*(part.to(device) for part in parts))


def plain(raw: Raw) -> list[Detections]:
    """Fast NMS, one image at a time."""
    scores = _probabilities(raw.logits)
    return [
        fast_nms(decode(offsets, raw.anchors), probabilities.T, coefficients)
        for offsets, probabilities, coefficients in zip(raw.offsets, scores, raw.coefficients, strict=True)
    ]


def ours(raw: Raw) -> list[Detections]:
    """What the predictor calls."""
    output = SegmenterOutput(raw.offsets, raw.logits, raw.coefficients, _UNUSED, _UNUSED, raw.anchors)
    return detections_of(output, score_threshold=THRESHOLD, iou_threshold=IOU, max_detections=MOST)


def peer(raw: Raw) -> list[Detections]:
    """torchvision's greedy suppression within each class, of whatever scores over the threshold."""
    return [_greedy(*image, raw.anchors) for image in zip(raw.offsets, raw.logits, raw.coefficients, strict=True)]


def _greedy(offsets: Tensor, logits: Tensor, coefficients: Tensor, anchors: Tensor) -> Detections:
    probabilities = _probabilities(logits)
    anchor, classes = (probabilities > THRESHOLD).nonzero(as_tuple=True)
    boxes, scores = decode(offsets, anchors)[anchor], probabilities[anchor, classes]
    kept = batched_nms(boxes, scores, classes, IOU)[:MOST]
    return Detections(boxes[kept], scores[kept], classes[kept], coefficients[anchor[kept]])


def _probabilities(logits: Tensor) -> Tensor:
    return logits.softmax(dim=-1)[..., 1:]


def agreement_of(expected: list[Detections], found: list[Detections]) -> float:
    """The share of detections that are the same, number by number; 0 for an image where there are more or fewer."""
    same = total = 0
    for theirs, ours in zip(expected, found, strict=True):
        total += max(len(theirs.scores), len(ours.scores))
        if len(theirs.scores) == len(ours.scores):
            boxes = torch.isclose(theirs.boxes, ours.boxes).all(dim=1)
            same += int((boxes & (theirs.classes == ours.classes) & torch.isclose(theirs.scores, ours.scores)).sum())
    return same / max(total, 1)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--image", type=int, default=550, help="side in pixels (default: 550)")
    parser.add_argument("--confident", type=float, default=0.02, help="share of anchors that see something")
    return parser.parse_args()


if __name__ == "__main__":
    main()
