"""Mask assembly: prototypes, coefficients and boxes to masks of the photo's size; `python -m benchmarks.assembly`.

The plain form is what the papers' released code does: float32, eager, a product, a sigmoid, a crop, bilinear
enlargement of all masks to the photo, above 0.5. Ours is what `eps.engine.predictor` uses on the device.
"""

import argparse
import sys
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import (
    OURS,
    PLAIN,
    Call,
    Comparison,
    arguments,
    bandwidth,
    extra_memory,
    in_graphs,
    interleave,
    measured_apart,
    prepare,
    show,
)
from eps.ops.assembly import photo_masks
from eps.ops.masks import cropped_masks


class Scene(NamedTuple):
    prototypes: Tensor
    coefficients: Tensor
    boxes: Tensor
    size: tuple[int, int]


class Cost(NamedTuple):
    """Counted, not measured: see docs/PERFORMANCE.md."""

    flops: float
    bytes: float


def main() -> None:
    """Compare, count and print."""
    options = _options()
    device = prepare(options)
    scene = made(
        instances=options.instances,
        prototypes=options.prototypes,
        planes=options.planes,
        photo=options.photo,
        boxes=options.boxes,
        device=device,
    )
    calls: dict[str, Call] = {PLAIN: lambda: plain(scene), OURS: lambda: ours(scene)}
    if options.memory_of:
        ours(Scene(scene.prototypes[:, :4, :4], scene.coefficients[:2], scene.boxes[:2], (8, 8)))  # loads libraries
        plain(Scene(scene.prototypes[:, :4, :4], scene.coefficients[:2], scene.boxes[:2], (8, 8)))
        print(extra_memory(calls[options.memory_of], device))
        return
    agreement = float((plain(scene) == ours(scene)).double().mean())
    timing = {"rounds": options.rounds, "warmup": options.warmup}
    times = interleave(calls, device=device, **timing)
    more, notes = _accounts(scene, device, calls, timing)
    settings = {name: getattr(options, name) for name in ("instances", "prototypes", "planes", "photo", "boxes")}
    found = Comparison(
        benchmark="assembly", times=times, agreement=agreement, device=device, settings=settings, more=more
    )
    show(found, as_json=options.json, notes=notes)


def made(
    *,
    instances: int,
    prototypes: int,
    planes: tuple[int, int],
    photo: tuple[int, int],
    boxes: str,
    device: torch.device,
) -> Scene:
    """Planes that change slowly and are not negative, as after a ReLU; coefficients as after a tanh."""
    height, width = planes
    coarse = torch.randn(1, prototypes, max(2, height // 8), max(2, width // 8))
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False).relu()[0]
    parts = (smooth, torch.randn(instances, prototypes).tanh(), _boxes(boxes, instances))
    return Scene(*(part.to(device) for part in parts), (photo[0], photo[1]))


def plain(scene: Scene) -> Tensor:
    """Every step on whole planes, all masks at once."""
    masks = cropped_masks(scene.prototypes, scene.coefficients, scene.boxes)
    return F.interpolate(masks[None], size=scene.size, mode="bilinear", align_corners=False)[0] > 0.5


def ours(scene: Scene) -> Tensor:
    """What the predictor calls."""
    return photo_masks(scene.prototypes, scene.coefficients, scene.boxes, size=scene.size)


def plain_cost(scene: Scene) -> Cost:
    """Each eager step reads and writes its planes of floats."""
    count, planes, pixels, made = _counts(scene)
    combine = 2 * count * planes * pixels
    return Cost(
        flops=combine + 5 * count * pixels + 9 * count * made,
        bytes=4 * planes * pixels + (4 + 8 + 8 + 4) * count * pixels + (4 + 4 + 1) * count * made,
    )


def our_cost(scene: Scene) -> Cost:
    """Prototypes are read once, bytes are written once; arithmetic is inside boxes alone."""
    count, planes, pixels, made = _counts(scene)
    covered = float((scene.boxes.clamp(0, 1)[:, 2:] - scene.boxes.clamp(0, 1)[:, :2]).prod(dim=1).sum())
    inside = covered * pixels
    return Cost(
        flops=(2 * planes + 4) * inside + 9 * covered * made,
        bytes=4 * planes * pixels + 4 * count * (planes + 4) + count * made,
    )


def _counts(scene: Scene) -> tuple[int, int, int, int]:
    """Instances, prototypes, pixels of a prototype, pixels of the photo."""
    planes, height, width = scene.prototypes.shape
    return len(scene.boxes), planes, height * width, scene.size[0] * scene.size[1]


def _accounts(
    scene: Scene, device: torch.device, calls: dict[str, Call], timing: dict[str, int]
) -> tuple[dict[str, object], list[str]]:
    """Memory of both ways, the limit that bandwidth sets, and on a GPU the time without the host."""
    if device.type == "cuda":
        memory = {name: extra_memory(call, device) for name, call in calls.items()}
        on_device = {name: sorted(some)[len(some) // 2] for name, some in in_graphs(calls, **timing).items()}
    else:
        apart = {name: measured_apart("benchmarks.assembly", [*sys.argv[1:], "--memory-of", name]) for name in calls}
        memory = {name: int(some[0]) for name, some in apart.items()}
        on_device = {}
    cost, speed = our_cost(scene), bandwidth(device)
    limit = 1000 * cost.bytes / speed
    area = (scene.boxes.clamp(0, 1)[:, 2:] - scene.boxes.clamp(0, 1)[:, :2]).prod(dim=1).mean()
    more = {
        "memory": memory,
        "memory_share": round(memory[OURS] / memory[PLAIN], 4),
        "mean_box_area": round(float(area), 4),
        "cost": {PLAIN: plain_cost(scene)._asdict(), OURS: cost._asdict()},
        "bandwidth": speed,
        "limit_ms": limit,
        "device_medians": on_device,
    }
    notes = [
        f"extra memory: plain {memory[PLAIN] / 2**20:.1f} MiB, ours {memory[OURS] / 2**20:.1f} MiB, "
        f"share {memory[OURS] / memory[PLAIN]:.3f}",
        f"boxes cover {100 * float(area):.1f} % of the photo on average",
        f"limit by bandwidth ({speed / 1e9:.1f} GB/s, copied in this run): {limit:.4f} ms",
        *(f"{name} without the host: {value:.4f} ms" for name, value in on_device.items()),
    ]
    return more, notes


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--prototypes", type=int, default=32)
    parser.add_argument("--planes", type=int, nargs=2, default=[138, 138], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--photo", type=int, nargs=2, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument(
        "--boxes",
        choices=["coco", "uniform", "full"],
        default="coco",
        help="sides log-uniform from 1/32 of the photo to all of it, about as COCO's objects are; corners drawn "
        "uniformly (larger); or the whole photo each",
    )
    parser.add_argument("--memory-of", choices=[PLAIN, OURS], help="print the bytes that this way needs, no times")
    return parser.parse_args()


def _boxes(kind: str, count: int) -> Tensor:
    if kind == "full":
        return torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(count, 1)
    if kind == "uniform":
        points = torch.rand(count, 2, 2)
        return torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1)
    size = 32 ** -torch.rand(count, 2)
    corner = torch.rand(count, 2) * (1 - size)
    return torch.cat([corner, corner + size], dim=1)


if __name__ == "__main__":
    main()
