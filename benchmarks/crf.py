"""The dense CRF: pydensecrf against the same in torch; `python -m benchmarks.crf data.root=FOLDER --photos 200`.

FOLDER is a dataset folder with saliency maps; without one, railroad scenes are generated. Scores are those of a run
(`--scores runs/NAME/pseudo_masks/scores`, made with pseudo_masks.save_scores=true), or, in their place, each photo's
saliency map, blurred as localization maps are and shared out at random among its tags. Times are of a photo.

On a CPU the plain way is pydensecrf in as many processes as there are threads, ours is torch in one process; both also
the other way round. On a GPU the plain way is one process of pydensecrf or, where that is not installed, torch on the
machine's CPU.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Call, Comparison, arguments, interleave, prepare, show
from eps.cli import compose
from eps.data import railroad
from eps.data.artifacts import read_scores
from eps.data.datasets import read_saliency
from eps.data.layout import DatasetFolder
from eps.mask_labels import PIXELS_AT_ONCE, batches
from eps.ops.crf import dense_crfs
from eps.ops.mean_field import CRFParameters
from eps.ops.pseudo_labels import alpha_background

REFERENCE, TORCH = "pydensecrf", "torch"


class Scene(NamedTuple):
    photo: np.ndarray
    planes: Tensor
    """Of the background and of the tagged classes."""


class Agreement(NamedTuple):
    """How like the reference's the marginals are."""

    labels: float
    """Share of pixels of all photos."""
    worst: float
    """Of the photo with the lowest share."""
    mean_difference: float
    """Absolute, of the marginals."""
    largest_difference: float


def main() -> None:
    """Compare and print."""
    options = _options()
    device = prepare(options)
    scenes = _scenes(options)
    parameters, reference = _parameters(options), REFERENCE
    if find_spec(REFERENCE) is None:
        if device.type == "cpu":
            raise SystemExit("there is nothing to compare with on a CPU: pip install pydensecrf2")
        reference = TORCH
    found = _agreement(scenes, parameters, reference=reference, device=device)
    with ProcessPoolExecutor(
        options.threads, multiprocessing.get_context("spawn"), initializer=_start, initargs=(options,)
    ) as pool:
        calls = _calls(scenes, parameters, reference=reference, device=device, pool=pool, threads=options.threads)
        times = interleave(calls, rounds=options.rounds, warmup=options.warmup, device=device)
    pixels, labels = np.mean([(scene.planes[0].numel(), len(scene.planes)) for scene in scenes], axis=0)
    plain, ours, *_ = calls
    comparison = Comparison(
        benchmark="crf",
        times={name: [one / len(scenes) for one in some] for name, some in times.items()},
        agreement=found.labels,
        device=device,
        settings={"photos": len(scenes), "pixels": int(pixels), "labels": round(float(labels), 2), "crf": options.crf},
        plain=plain,
        ours=ours,
        more={"marginals": found._asdict(), "reference": reference},
    )
    notes = [
        f"labels equal to {reference}: {100 * found.labels:.4f} %, worst photo"
        f" {100 * found.worst:.4f} %; marginals differ by {found.mean_difference:.2e} on average, at most by"
        f" {found.largest_difference:.2e}"
    ]
    show(comparison, as_json=options.json, notes=notes)


def _calls(
    scenes: Sequence[Scene],
    parameters: CRFParameters,
    *,
    reference: str,
    device: torch.device,
    pool: ProcessPoolExecutor,
    threads: int,
) -> dict[str, Call]:
    """The plain way first, then ours, then others."""

    def ours() -> None:
        for _ in _by_torch(scenes, parameters, device=device):
            pass

    one = partial(_one_by_one, scenes, parameters, backend=reference)
    if device.type == "cuda":
        return {f"{reference} on the CPU": one, f"{TORCH} on the GPU": ours}
    apart = {backend: partial(_in_processes, pool, backend, len(scenes)) for backend in (REFERENCE, TORCH)}
    return {
        f"{REFERENCE}, {threads} processes": apart[REFERENCE],
        f"{TORCH}, {threads} threads": ours,
        f"{TORCH}, {threads} processes": apart[TORCH],
        f"{REFERENCE}, here": one,
    }


def _one_by_one(scenes: Sequence[Scene], parameters: CRFParameters, *, backend: str) -> None:
    for scene in scenes:
        dense_crfs([scene.photo], [scene.planes], parameters, backend=backend)


def _by_torch(scenes: Sequence[Scene], parameters: CRFParameters, *, device: torch.device) -> Iterator[Tensor]:
    """As `eps.pseudo_masks` does it: photo by photo, or on a GPU some at once; nothing is kept."""
    mapped = ((partial(Image.fromarray, scene.photo), scene.planes) for scene in scenes)
    for batch in batches(mapped, pixels=PIXELS_AT_ONCE if device.type == "cuda" else 0):
        photos = [np.asarray(photo()) for photo, _ in batch]
        yield from dense_crfs(photos, [planes.to(device) for _, planes in batch], parameters, backend=TORCH)


def _agreement(
    scenes: Sequence[Scene], parameters: CRFParameters, *, reference: str, device: torch.device
) -> Agreement:
    equal, pixels, sums, worst, largest = 0, 0, 0.0, 1.0, 0.0
    for scene, found in zip(scenes, _by_torch(scenes, parameters, device=device), strict=True):
        (expected,) = dense_crfs([scene.photo], [scene.planes], parameters, backend=reference)
        same = expected.argmax(dim=0) == found.argmax(dim=0).cpu()
        difference = (expected - found.cpu()).abs()
        equal, pixels = equal + int(same.sum()), pixels + same.numel()
        worst, largest = min(worst, float(same.float().mean())), max(largest, float(difference.max()))
        sums += float(difference.mean()) * same.numel()
    return Agreement(equal / pixels, worst, sums / pixels, largest)


_in_this_process: list[tuple[list[Scene], CRFParameters]] = []


def _start(options: argparse.Namespace) -> None:
    """A process of the pool reads the scenes itself."""
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    _in_this_process.append((_scenes(options), _parameters(options)))


def _refine(backend: str, number: int) -> None:
    scenes, parameters = _in_this_process[0]
    dense_crfs([scenes[number].photo], [scenes[number].planes], parameters, backend=backend)


def _in_processes(pool: ProcessPoolExecutor, backend: str, photos: int) -> None:
    for _ in pool.map(partial(_refine, backend), range(photos)):
        pass


def _options() -> argparse.Namespace:
    parser = arguments(__doc__, rounds=3)
    parser.set_defaults(warmup=1)
    parser.add_argument("data", nargs="?", default="", metavar="data.root=FOLDER", help="a dataset folder")
    parser.add_argument("--split", default="train")
    parser.add_argument("--photos", type=int, default=10, help="at most so many, tagged ones (default: 10)")
    parser.add_argument("--scores", type=Path, help="localization maps of a run, <id>.npz")
    parser.add_argument("--crf", default="crf_alpha4", help="the kernels of a choice of pseudo_masks")
    parser.add_argument("--side", type=int, default=320, help="of generated scenes (default: 320)")
    options = parser.parse_args()
    options.data = options.data.removeprefix("data.root=")
    return options


def _parameters(options: argparse.Namespace) -> CRFParameters:
    return CRFParameters(**asdict(compose(f"pseudo_masks={options.crf}").pseudo_masks.crf_parameters))


def _scenes(options: argparse.Namespace) -> list[Scene]:
    if options.data:
        return list(_read(DatasetFolder.open(Path(options.data)), options))
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "railroad"
        railroad.write(root, sizes={options.split: 2 * options.photos}, size=options.side)
        return list(_read(DatasetFolder.open(root), options))


def _read(folder: DatasetFolder, options: argparse.Namespace) -> Iterator[Scene]:
    ids = [photo for photo in folder.ids(options.split) if folder.tags(photo).any()]
    for photo in ids[: options.photos]:
        pixels = np.asarray(folder.photo(photo))
        if options.scores:
            scores = torch.from_numpy(read_scores(options.scores / f"{photo}.npz"))
            scores = scores[scores.flatten(1).any(dim=1)]
        else:
            saliency = read_saliency(folder, photo, size=(pixels.shape[0], pixels.shape[1]))
            scores = _stand_ins(saliency, int(folder.tags(photo).sum()))
        yield Scene(pixels, alpha_background(scores, alpha=4))


def _stand_ins(saliency: Tensor, classes: int) -> Tensor:
    """A sixteenth of the photo's size, and back: in 0..1, one plane a class."""
    height, width = saliency.shape
    coarse = F.adaptive_avg_pool2d(saliency[None], (max(1, height // 16), max(1, width // 16)))
    weights = (2 * torch.randn(classes, *coarse.shape[1:])).softmax(dim=0)
    planes = F.interpolate((coarse * weights)[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    return planes / (planes.amax(dim=(1, 2), keepdim=True) + 1e-5)


if __name__ == "__main__":
    main()
