"""How cost grows, in time and memory, with what there is more of; `python -m benchmarks.scaling --figure growth.png`.

| axis | from | to |
|---|---|---|
| pixels | a photo on disk, lite0, 20 classes, one scale and its mirror image | its pseudo-mask on disk |
| classes | a photo of 375 x 500 with one or two tags | its localization maps |
| detected_classes | logits of 19,248 anchors | the best 100 boxes |
| instances | prototypes, coefficients, boxes | masks of a photo of 480 x 640 |
| photos | a folder of small photos, a stub in place of the network | `eps.pseudo_masks` has ended |

The plain forms are those of `benchmarks.pseudo_masks`, `.detection` and `.assembly`. The exponent is the slope of the
logarithms between the last two points: 1 is linear. Memory is what a call needs beyond what there is before it, in a
process of its own. In the JSON object `ratio` is the geometric mean of the axes' at their last point, `agreement` the
least of all points.
"""

import argparse
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import assembly, detection, pseudo_masks
from benchmarks.harness import (
    OURS,
    PLAIN,
    Call,
    arguments,
    extra_memory,
    interleave,
    machine,
    measured_apart,
    prepare,
)
from benchmarks.stand_ins import noise
from eps import build
from eps import pseudo_masks as verb
from eps.cli import call, compose
from eps.data.artifacts import write_json, write_saliency
from eps.engine.checkpoint import save_model
from eps.engine.forms import Form, QuickClassifier
from eps.engine.inference import localize_together
from eps.models.classifier import Classifier

MIB = 2**20
CPU = torch.device("cpu")
LINKS = 10_000
LEAST = 0.1
"""Milliseconds or MiB that the figure tells from none."""


class Ways(NamedTuple):
    """What is measured at one point."""

    calls: Mapping[str, Call]
    agreement: Callable[[], float]


class Axis(NamedTuple):
    """Something that there may be more of."""

    unit: str
    points: tuple[int, ...]
    ways: Callable[[int], AbstractContextManager[Ways]]
    names: tuple[str, ...] = (PLAIN, OURS)
    once: bool = False
    """Long enough to be timed once, in the process that tells of its memory."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What one axis costs: by way, at each of its points."""

    points: list[int]
    milliseconds: dict[str, list[float]]
    mib: dict[str, list[float]]
    agreement: float

    def exponents(self) -> dict[str, dict[str, float]]:
        """Of time and memory, by way."""
        costs = {"time": self.milliseconds, "memory": self.mib}
        return {
            what: {way: round(_slope(self.points, some), 3) for way, some in by_way.items()}
            for what, by_way in costs.items()
        }


def main() -> None:
    """Measure, draw and print."""
    options = _options()
    prepare(options)
    if options.memory_of:
        print(*_alone(AXES[options.axes[0]], options.points[0], options.memory_of))
        return
    curves = {name: _curve(name, AXES[name], options) for name in options.axes}
    _show(curves)
    if options.figure:
        _draw(curves, options.figure)
    if options.json:
        print(json.dumps(_summary(curves)), flush=True)


@contextmanager
def _pixels(pixels: int) -> Iterator[Ways]:
    """Of a square photo: to its pseudo-mask on disk."""
    side = round(math.sqrt(pixels))
    with _labelled(size=(side, side), classes=20) as (model, scene, folder):
        quick = QuickClassifier(model, Form("fp32", compiled=False))
        calls: dict[str, Call] = {
            PLAIN: lambda: pseudo_masks.plain(model, scene, folder / PLAIN),
            OURS: lambda: pseudo_masks.ours(quick, scene, folder / OURS, batch=1),
        }
        yield Ways(calls, lambda: pseudo_masks.agreement_of(folder, scene))


@contextmanager
def _classes(classes: int) -> Iterator[Ways]:
    """To the localization maps alone: masks have a byte a pixel, so that not all of these classes fit."""
    with _labelled(size=(375, 500), classes=classes) as (model, scene, _):
        quick, (path,), tags = QuickClassifier(model, Form("fp32", compiled=False)), scene.photos, scene.tags[0]

        def plain() -> Tensor:
            return pseudo_masks.plain_maps(model, path, tags, scene)

        def ours() -> Tensor:
            (found,) = localize_together(quick, [Image.open(path)], [tags], scales=scene.scales, flip=True, device=CPU)
            return found

        yield Ways({PLAIN: plain, OURS: ours}, lambda: float(torch.isclose(plain(), ours(), atol=1e-4).double().mean()))


@contextmanager
def _labelled(*, size: tuple[int, int], classes: int) -> Iterator[tuple[Classifier, pseudo_masks.Scene, Path]]:
    with TemporaryDirectory() as place:
        scene = pseudo_masks.made(Path(place), count=1, size=size, classes=classes, scales=[1.0], device=CPU)
        yield pseudo_masks.random_classifier("tf_efficientnet_lite0", classes, scene.photos[0]), scene, Path(place)


@contextmanager
def _detected_classes(classes: int) -> Iterator[Ways]:
    raw = detection.made(batch=1, classes=classes, image=550, confident=0.02, device=CPU)
    calls: dict[str, Call] = {PLAIN: lambda: detection.plain(raw), OURS: lambda: detection.ours(raw)}
    yield Ways(calls, lambda: detection.agreement_of(detection.plain(raw), detection.ours(raw)))


@contextmanager
def _instances(instances: int) -> Iterator[Ways]:
    scene = assembly.made(
        instances=instances, prototypes=32, planes=(138, 138), photo=(480, 640), boxes="coco", device=CPU
    )
    calls: dict[str, Call] = {PLAIN: lambda: assembly.plain(scene), OURS: lambda: assembly.ours(scene)}
    yield Ways(calls, lambda: float((assembly.plain(scene) == assembly.ours(scene)).double().mean()))


@contextmanager
def _photos(count: int) -> Iterator[Ways]:
    """`eps.pseudo_masks` as a user runs it, but for what the network says. There is no plain form of it."""
    with TemporaryDirectory() as place:
        root, runs = Path(place, "data"), itertools.count()
        _write_folder(root, count)

        def ours() -> None:
            run = Path(place, f"run{next(runs)}")
            settings = ("experiment=tiny", "data=folder", f"data.root={root}", f"run_dir={run}")
            cfg = compose(*settings)
            target = run / "classifier" / "model.safetensors"
            target.parent.mkdir(parents=True)
            save_model(target, *build.classifier(cfg, ("thing",)))
            with mock.patch("eps.stored_maps.localize_together", _stub):
                call(verb.run, *settings)

        yield Ways({OURS: ours}, lambda: 1.0)


def _stub(
    model: Any, photos: Sequence[Image.Image], labels: Sequence[Tensor], *, device: torch.device, **how: Any
) -> list[Tensor]:
    """Maps in place of a network's: what is bright."""
    bright = (torch.from_numpy(np.asarray(photo.convert("L"))) / 255 for photo in photos)
    return [tags[:, None, None] * one for tags, one in zip(labels, bright, strict=True)]


def _write_folder(root: Path, count: int) -> None:
    """A dataset folder of one photo and one saliency map under so many names: a file has some 65,000 links at most."""
    names = [f"{number:07}" for number in range(count)]
    for folder in ("JPEGImages", "SALImages", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    made = noise((32, 32), sides=(3, 8))
    for first in range(0, count, LINKS):
        photo, saliency = (root / folder / names[first] for folder in ("JPEGImages", "SALImages"))
        made.save(photo.with_suffix(".jpg"), quality=92)
        write_saliency(saliency.with_suffix(".png"), np.asarray(made.convert("L")))
        for name in names[first + 1 : first + LINKS]:
            os.link(photo.with_suffix(".jpg"), photo.with_name(f"{name}.jpg"))
            os.link(saliency.with_suffix(".png"), saliency.with_name(f"{name}.png"))
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names))
    write_json(root / "image_labels.json", {"classes": ["thing"], "labels": {name: ["thing"] for name in names}})


AXES: Mapping[str, Axis] = {
    "pixels": Axis("pixels of a photo", (128**2, 256**2, 512**2, 1024**2, 2048**2), _pixels),
    "classes": Axis("classes", (20, 80, 320, 1000), _classes),
    "detected_classes": Axis("classes", (20, 80, 320, 1000), _detected_classes),
    "instances": Axis("instances", (1, 10, 100, 400), _instances),
    "photos": Axis("photos", (1000, 3000, 10_000, 30_000, 100_000), _photos, (OURS,), once=True),
}


def _curve(name: str, axis: Axis, options: argparse.Namespace) -> Curve:
    points = [point for point in options.points or axis.points if point <= options.most]
    times: dict[str, list[float]] = {}
    mib: dict[str, list[float]] = {}
    agreements = [1.0]
    for point in points:
        alone = {way: _apart(name, point, way, options) for way in axis.names}
        taken = {way: milliseconds for way, (milliseconds, _) in alone.items()}
        if not axis.once:
            with axis.ways(point) as ways:
                found = interleave(ways.calls, rounds=options.rounds, warmup=options.warmup, device=CPU)
                agreements.append(ways.agreement())
            taken = {way: float(np.median(some)) for way, some in found.items()}
        for way, (_, held) in alone.items():
            times.setdefault(way, []).append(taken[way])
            mib.setdefault(way, []).append(held / MIB)
    return Curve(points=points, milliseconds=times, mib=mib, agreement=min(agreements))


def _apart(name: str, point: int, way: str, options: argparse.Namespace) -> list[float]:
    """What `_alone` finds in a process of its own."""
    settings = ("--axes", name, "--points", str(point), "--memory-of", way, "--threads", str(options.threads))
    return measured_apart("benchmarks.scaling", settings)


def _alone(axis: Axis, point: int, way: str) -> tuple[float, int]:
    """Milliseconds and bytes of one call in this process, after one at a small point, which loads libraries."""
    with axis.ways(10 if axis.once else axis.points[0]) as small:
        small.calls[way]()
    with axis.ways(point) as ways:
        began = time.perf_counter()
        held = extra_memory(ways.calls[way], CPU)
        return 1000 * (time.perf_counter() - began), held


def _slope(points: Sequence[int], costs: Sequence[float]) -> float:
    if len(points) < 2 or min(costs[-2:]) <= 0:
        return math.nan
    return math.log(costs[-1] / costs[-2]) / math.log(points[-1] / points[-2])


def _summary(curves: Mapping[str, Curve]) -> dict[str, Any]:
    ratios = [some[PLAIN][-1] / some[OURS][-1] for some in (c.milliseconds for c in curves.values()) if PLAIN in some]
    return {
        "benchmark": "scaling",
        "ratio": round(math.exp(float(np.mean(np.log(ratios)))), 3) if ratios else None,
        "agreement": min(curve.agreement for curve in curves.values()),
        "medians": {name: curve.milliseconds for name, curve in curves.items()},
        "memory_mib": {name: curve.mib for name, curve in curves.items()},
        "points": {name: curve.points for name, curve in curves.items()},
        "exponents": {name: curve.exponents() for name, curve in curves.items()},
        "machine": asdict(machine(CPU)),
    }


def _show(curves: Mapping[str, Curve]) -> None:
    console = Console()
    console.print(", ".join(f"{name}: {value}" for name, value in asdict(machine(CPU)).items() if value is not None))
    for name, curve in curves.items():
        table = Table("way", *(f"{point:,}" for point in curve.points), "exponent", title=f"{name}: ms; MiB")
        exponents = curve.exponents()
        for way in curve.milliseconds:
            for costs, what in ((curve.milliseconds, "time"), (curve.mib, "memory")):
                table.add_row(f"{way}, {what}", *(f"{cost:,.1f}" for cost in costs[way]), str(exponents[what][way]))
        console.print(table)


def _draw(curves: Mapping[str, Curve], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(curves), 6), layout="constrained")
    columns = figure.subplots(2, len(curves), squeeze=False).T
    for (name, curve), (above, below) in zip(curves.items(), columns, strict=True):
        for axes, costs, unit in ((above, curve.milliseconds, "ms"), (below, curve.mib, "MiB")):
            for way, some in costs.items():
                axes.loglog(curve.points, np.maximum(some, LEAST), marker="o", label=way)
            axes.set(ylabel=unit, title=name if axes is above else "", xlabel=AXES[name].unit)
            axes.grid(visible=True, alpha=0.3)
        above.legend()
    figure.savefig(path, dpi=100)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__, rounds=3)
    parser.set_defaults(warmup=1, device="cpu")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--points", type=int, nargs="+", help="in place of an axis' own")
    parser.add_argument("--most", type=float, default=math.inf, help="leave larger points out")
    parser.add_argument("--figure", type=Path, help="a .png of all curves")
    parser.add_argument("--memory-of", choices=[PLAIN, OURS], help="print milliseconds and bytes of one call, no more")
    return parser.parse_args()


if __name__ == "__main__":
    main()
