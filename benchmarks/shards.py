"""Pseudo-masks over shards: is memory flat, and what does a photo cost; `python -m benchmarks.shards --photos 100000`.

It generates small photos, packs them into tar shards and labels these as `eps.pseudo_masks source=shards:...` does,
with a stub in place of the network (or, with --classifier, a trained one). It prints photos a second, memory along the
way, sizes, and what they come to for --plan photos (docs/SCALING.md); --figure draws the memory.
"""

import argparse
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from eps.engine.checkpoint import load_classifier, read_spec
from eps.engine.inference import localize
from eps.engine.shard_labels import Label, label_shards
from eps.ops.pseudo_labels import label_map

CLASSES = ("train", "boat", "bird")
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run, of one process."""

    photos: int
    seconds: float
    seconds_again: float
    """Of the same command once more, when every shard is done."""
    memory: list[tuple[int, float]]
    """(photos so far, resident MiB)."""
    photo_bytes: float
    mask_bytes: float

    @property
    def growth(self) -> float:
        """MiB per 1,000 photos over the second half of the run: the slope of a straight line."""
        late = self.memory[len(self.memory) // 2 :]
        photos, mib = np.array(late, dtype=float).T
        return float(np.polyfit(photos / 1000, mib, 1)[0]) if len(late) > 2 else float("nan")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What so many photos need: docs/SCALING.md has the formulas."""

    photos: int
    days: float
    devices: float
    """Processes, each as fast as the measured one, that have to work for so many days."""
    photo_terabytes: float
    mask_terabytes: float
    shards: int


def plan(measured: Measured, *, photos: int, days: float, per_shard: int) -> Plan:
    """From the cost of one photo to machines and storage."""
    seconds = measured.seconds / measured.photos
    return Plan(
        photos=photos,
        days=days,
        devices=photos * seconds / (days * 86_400),
        photo_terabytes=photos * measured.photo_bytes / 1e12,
        mask_terabytes=photos * measured.mask_bytes / 1e12,
        shards=-(-photos // per_shard),
    )


def main() -> None:
    """Generate, label twice, print."""
    options = _options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        shards = list(_generated(Path(folder, "in"), options))
        measured = _measured(shards, Path(folder, "out"), options)
    first, last = measured.memory[0], measured.memory[-1]
    print(f"{measured.photos} photos in {measured.seconds:.1f} s: {measured.photos / measured.seconds:.1f} a second")
    print(f"once more, all shards done: {measured.seconds_again:.2f} s")
    print(f"memory: {first[1]:.0f} MiB after {first[0]}, {last[1]:.0f} MiB after {last[0]} photos;", end=" ")
    print(f"{measured.growth:+.2f} MiB per 1,000 photos in the second half")
    print(f"a photo {measured.photo_bytes:.0f} bytes, its mask {measured.mask_bytes:.0f}")
    planned = plan(measured, photos=options.plan, days=options.days, per_shard=options.plan_per_shard)
    print(
        f"{planned.photos} photos in {planned.days:g} days: {planned.devices:.1f} such processes, "
        f"{planned.shards} shards, {planned.photo_terabytes:.1f} TB of photos, {planned.mask_terabytes:.1f} TB of masks"
    )
    if options.figure:
        _draw(measured, options.figure)
    if options.json:
        print(
            json.dumps({"benchmark": "shards", **asdict(measured), "growth": measured.growth, "plan": asdict(planned)})
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64, help="pixels (default: 64)")
    parser.add_argument("--per-shard", type=int, default=250)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the shards go meanwhile (default: the system's)")
    parser.add_argument("--classifier", type=Path, help="model.safetensors of stage 1, in place of the stub")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 1.5, 2.0], help="of --classifier")
    parser.add_argument("--device", default="cpu", help="of --classifier")
    parser.add_argument("--plan", type=int, default=10**9, help="photos to plan for (default: a billion)")
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--plan-per-shard", type=int, default=10_000)
    parser.add_argument("--figure", type=Path, help="a .png of memory over photos")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _generated(folder: Path, options: argparse.Namespace) -> Iterator[Path]:
    """Shards of smooth random photos with one tag each."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    classes = _classes(options)
    for start in range(0, options.photos, options.per_shard):
        path = folder / f"{start // options.per_shard:06}.tar"
        with tarfile.open(path, "w") as tar:
            for number in range(start, min(start + options.per_shard, options.photos)):
                coarse = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
                held = io.BytesIO()
                Image.fromarray(coarse).resize((options.side, options.side)).save(held, format="JPEG")
                tags = json.dumps({"tags": [classes[number % len(classes)]]}).encode()
                for suffix, content in (("jpg", held.getvalue()), ("json", tags)):
                    member = tarfile.TarInfo(f"{number:09}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                vars(tar)["members"] = []
        yield path


def _measured(shards: list[Path], target: Path, options: argparse.Namespace) -> Measured:
    memory: list[tuple[int, float]] = []
    every = max(1, options.photos // 100)

    def told(photos: int) -> None:
        if photos % every == 0:
            memory.append((photos, _resident()))

    label, classes, times = _label(options), _classes(options), []
    for _ in range(2):
        began = time.monotonic()
        done = label_shards(
            shards,
            target,
            label,
            classes=classes,
            fingerprint=lambda path: path.name,
            skip_faults=False,
            told=told,
        )
        times.append(time.monotonic() - began)
        assert done.photos == options.photos
    sizes = [sum(path.stat().st_size for path in paths) / options.photos for paths in (shards, target.glob("*.tar"))]
    return Measured(
        photos=options.photos,
        seconds=times[0],
        seconds_again=times[1],
        memory=memory,
        photo_bytes=sizes[0],
        mask_bytes=sizes[1],
    )


def _classes(options: argparse.Namespace) -> tuple[str, ...]:
    return read_spec(options.classifier).classes if options.classifier else CLASSES


def _label(options: argparse.Namespace) -> Label:
    if options.classifier:
        model = load_classifier(options.classifier)[0].to(options.device)

        def labelled(photo: Image.Image, tags: Bool[np.ndarray, " c"]) -> UInt8[Tensor, "H W"]:
            present = torch.from_numpy(tags).to(options.device)
            scores = localize(model, photo, present, scales=options.scales, flip=True)
            return label_map(scores.cpu(), threshold=0.5, ignore_band=0.0)

        return labelled

    def stub(photo: Image.Image, tags: Bool[np.ndarray, " c"]) -> UInt8[Tensor, "H W"]:
        bright = torch.from_numpy(np.asarray(photo.convert("L")) > 127)
        return (bright * (int(tags.argmax()) + 1)).to(torch.uint8)

    return stub


def _resident() -> float:
    """MiB that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def _draw(measured: Measured, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*measured.memory, strict=True))
    top = 1.2 * max(mib for _, mib in measured.memory)
    axes.set(xlabel="photos", ylabel="resident memory, MiB", ylim=(0, top), title="pseudo-masks over shards")
    figure.savefig(path)


if __name__ == "__main__":
    main()
