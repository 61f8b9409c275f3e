"""Pseudo-mask generation: photos on disk to masks on disk; `python -m benchmarks.pseudo_masks`.

The plain form takes one photo after the other: decode, every scale in float32 with its norms, contiguous, maps of every
class enlarged and merged over scales and flips, threshold, PNG. Ours is what `eps.pseudo_masks` does for its maps
(`QuickClassifier` in the form of `--precision`, `localize_together`): photos are decoded ahead, PNGs written meanwhile.
The agreement is the share of equal pixels.

Weights are random, of the default classifier (`--backbone tf_efficientnet_lite0`) or of EPS's WideResNet-38
(`--backbone resnet38`), on blobs of noise; or those of `--model`, with `--folder` photos and the classes that it sees
first as their tags. Only trained weights tell how much 16 bits change: random ones are sure of nothing. On a GPU
`--json` also says which share of the device's time convolutions take (`profile`).
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.harness import OURS, PLAIN, Call, Comparison, arguments, interleave, prepare, show
from benchmarks.stand_ins import fit_norms, noise, photos_in
from eps.checkpoints.eps_resnet38 import TRUNK as RELEASED_TRUNK
from eps.data.artifacts import read_mask, write_mask
from eps.engine.checkpoint import load_classifier
from eps.engine.forms import Form, QuickClassifier
from eps.engine.inference import as_tensor, localize_together
from eps.engine.overlap import ahead
from eps.models.classifier import Classifier
from eps.models.spec import ClassifierSpec, TrunkSpec, build_classifier
from eps.nn.backbone import RESNET38
from eps.nn.normalization import IMAGENET_MEAN, IMAGENET_STD
from eps.ops.localization import localization_maps, normalize_maps
from eps.ops.pseudo_labels import label_map

THRESHOLD = 0.4


class Scene(NamedTuple):
    photos: list[Path]
    tags: Tensor
    """(photos, classes), of each photo one or two."""
    scales: list[float]
    device: torch.device


def main() -> None:
    """Compare and print."""
    options = _options()
    device = prepare(options)
    with tempfile.TemporaryDirectory() as folder:
        if options.folder:
            scene = _real(options, device)
        else:
            scene = made(
                Path(folder),
                count=options.photos,
                size=options.photo,
                classes=options.classes,
                scales=options.scales,
                device=device,
            )
        if options.model:
            model = load_classifier(Path(options.model) / "model.safetensors")[0].to(device).eval()
            scene = scene._replace(tags=torch.stack([_seen(model, path, device) for path in scene.photos]))
        else:
            model = random_classifier(options.backbone, options.classes, scene.photos[0]).to(device)
        quick = QuickClassifier(model, Form(options.precision, options.compile))
        calls: dict[str, Call] = {
            PLAIN: lambda: plain(model, scene, Path(folder) / PLAIN),
            OURS: lambda: ours(quick, scene, Path(folder) / OURS, batch=options.batch),
        }
        for call in calls.values():
            call()
        agreement = agreement_of(Path(folder), scene)
        times = interleave(calls, rounds=options.rounds, warmup=options.warmup, device=device)
        share = convolution_share(calls[OURS]) if device.type == "cuda" else None
    each = {name: float(np.median(some)) / len(scene.photos) for name, some in times.items()}
    names = ("backbone", "model", "photos", "photo", "classes", "scales", "batch", "precision", "compile")
    found = Comparison(
        benchmark="pseudo_masks",
        times=times,
        agreement=agreement,
        device=device,
        settings={name: getattr(options, name) for name in names},
        more={"ms_per_photo": each, "profile": {"convolution_share": share}},
    )
    notes = [f"{name}: {value:.1f} ms a photo" for name, value in each.items()]
    notes += [] if share is None else [f"convolutions: {100 * share:.1f} % of the device's time"]
    show(found, as_json=options.json, notes=notes)


def plain(model: Classifier, scene: Scene, target: Path) -> None:
    """One photo after the other."""
    for path, tags in zip(scene.photos, scene.tags, strict=True):
        _write(target / f"{path.stem}.png", plain_maps(model, path, tags, scene))


@torch.inference_mode()
def plain_maps(model: Classifier, path: Path, tags: Tensor, scene: Scene) -> Tensor:
    """One scale after the other, every class."""
    photo = Image.open(path).convert("RGB")
    size = (photo.height, photo.width)
    total = torch.zeros(len(tags), *size, device=scene.device)
    for scale in scene.scales:
        resized = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
        image = as_tensor(resized)[None].to(scene.device)
        for view in (image, image.flip(-1)):
            maps = localization_maps(model(model.normalize(view)).maps, background=True, size=size)[0]
            total += maps if view is image else maps.flip(-1)
    return normalize_maps(total, tags.to(scene.device)).cpu()


def ours(model: QuickClassifier, scene: Scene, target: Path, *, batch: int) -> None:
    """As `eps.stored_maps` puts it together: reading, the network and writing overlap."""

    def opened() -> Iterator[tuple[list[Path], list[Image.Image], list[Tensor]]]:
        for start in range(0, len(scene.photos), batch):
            paths = scene.photos[start : start + batch]
            yield paths, [Image.open(path).convert("RGB") for path in paths], list(scene.tags[start : start + batch])

    def localized() -> Iterator[tuple[Path, Tensor]]:
        for paths, images, tags in ahead(opened()):
            maps = localize_together(model, images, tags, scales=scene.scales, flip=True, device=scene.device)
            yield from zip(paths, (one.cpu() for one in maps), strict=True)

    for path, scores in ahead(localized(), depth=1):
        _write(target / f"{path.stem}.png", scores)


def convolution_share(call: Callable[[], object]) -> float:
    """Of the time that kernels take on the GPU, by their names."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        call()
        torch.cuda.synchronize()
    times = {event.key: event.self_device_time_total for event in profiler.key_averages()}
    words = ("conv", "gemm", "implicit", "xmma", "cutlass", "winograd", "wgrad", "fprop")
    taken = sum(time for name, time in times.items() if any(word in name.lower() for word in words))
    return taken / max(sum(times.values()), 1)


def _write(path: Path, scores: Tensor) -> None:
    path.parent.mkdir(exist_ok=True)
    write_mask(path, label_map(scores, threshold=THRESHOLD, ignore_band=0.0).numpy())


def agreement_of(folder: Path, scene: Scene) -> float:
    """The share of equal pixels of the masks in its two folders."""
    equal = [
        (read_mask(folder / PLAIN / f"{path.stem}.png") == read_mask(folder / OURS / f"{path.stem}.png")).mean()
        for path in scene.photos
    ]
    return float(np.mean(equal))


@torch.inference_mode()
def _seen(model: Classifier, path: Path, device: torch.device) -> Tensor:
    """The class that has the largest share of a photo, as its tag."""
    photo = as_tensor(Image.open(path))[None].to(device)
    shares = model.localization(model.normalize(photo))[0].mean(dim=(1, 2))
    return torch.arange(len(shares)) == int(shares.argmax())


def _real(options: argparse.Namespace, device: torch.device) -> Scene:
    """Photos of a folder, those of one size; their tags are to follow."""
    files = photos_in(options.folder)
    same = [path for path in files if Image.open(path).size == Image.open(files[0]).size]
    return Scene(same[: options.photos], torch.zeros(0), options.scales, device)


def made(
    folder: Path, *, count: int, size: Sequence[int], classes: int, scales: list[float], device: torch.device
) -> Scene:
    """Blobs of many scales, with one or two tags each."""
    photos = [folder / f"{number:04}.jpg" for number in range(count)]
    for path in photos:
        noise(size, sides=(3, 8, 24, 96)).save(path, quality=92)
    tags = torch.zeros(count, classes, dtype=torch.bool)
    tags.scatter_(1, torch.randint(classes, (count, 2)), True)
    return Scene(photos, tags, scales, device)


@torch.no_grad()
def random_classifier(backbone: str, classes: int, photo: Path) -> Classifier:
    """Random weights, batch norms and maps fitted to a photo: as if trained."""
    small = TrunkSpec(
        backbone=backbone,
        frozen_norm=True,
        fpn_channels=64,
        head_channels=64,
        head_depth=1,
        prototypes=64,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    trunk = RELEASED_TRUNK if backbone == RESNET38 else small
    names = tuple(f"class {number}" for number in range(classes))
    model = build_classifier(ClassifierSpec(trunk=trunk, classes=names, background=True))
    images = model.normalize(as_tensor(Image.open(photo))[None])
    fit_norms(model, images)
    maps: Tensor = model(images).maps
    model.coefficients.mul_(2 / max(float(maps.std()), 1e-6))
    return model


def _options() -> argparse.Namespace:
    parser = arguments(__doc__, rounds=5)
    parser.set_defaults(warmup=1)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--model", help="the folder of a trained classifier in place of random weights")
    parser.add_argument("--folder", help="of photos, in place of noise; goes with --model")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--photo", type=int, nargs=2, default=[375, 500], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.5, 1.0, 1.5, 2.0])
    parser.add_argument("--batch", type=int, default=1, help="photos that ours takes together (a GPU: 8 or more)")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="bf16")
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    options = parser.parse_args()
    if bool(options.model) != bool(options.folder):
        parser.error("--model and --folder go together")
    return options


if __name__ == "__main__":
    main()
