"""The loader alone: photos, maps and masks from disk to augmented batches, no network; `python -m benchmarks.loading`.

The plain form decodes every file at every step, ours keeps what it has decoded in memory that all workers share
(`runtime.cache_mb`). A round is one pass over the photos, by worker processes that start with it; that ours has to read
them once is not in it. The agreement is the share of equal numbers in the batches. A GPU is kept busy where
`photos_per_second` is well above what `benchmarks.training` says of it.

Photos are blobs of noise at the size of VOC's, which decode faster than real ones: give `--folder`, a dataset folder of
our layout, for figures that count.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils._pytree import tree_leaves

from benchmarks.harness import OURS, PLAIN, Call, Comparison, arguments, interleave, prepare, show
from benchmarks.stand_ins import noise
from eps.data.artifacts import write_mask, write_saliency
from eps.data.datasets import InstanceDataset, SemanticDataset, TaggedDataset, join_labelled, join_tagged
from eps.data.layout import DatasetFolder
from eps.data.loading import load_batches
from eps.data.sampling import TrainingDraws
from eps.data.transforms import semantic_transform, training_transform
from eps.data.truth import TruthFolder

SIZE = (375, 500)
FLIP, JITTER = 0.5, (0.3, 0.3, 0.3, 0.0)
JOINS = {"tagged": join_tagged, "semantic": join_labelled, "instances": list}


def main() -> None:
    """Compare and print."""
    options = _options()
    device = prepare(options)
    with tempfile.TemporaryDirectory() as place:
        root = Path(options.folder or _written(Path(place), options))
        folder = DatasetFolder.open(root)
        ids = folder.ids(options.split)[: options.photos]
        datasets = {name: _dataset(options, folder, ids, mb) for name, mb in ((PLAIN, 0), (OURS, options.cache_mb))}
        _consume(options, datasets[OURS], len(ids))  # from here on it reads no file
        alike = _agreement(*(_batches(options, dataset, len(ids)) for dataset in datasets.values()))
        calls: dict[str, Call] = {
            name: partial(_consume, options, dataset, len(ids)) for name, dataset in datasets.items()
        }
        times = interleave(calls, rounds=options.rounds, warmup=max(1, options.warmup), device=device)
    rates = {name: len(ids) / (float(np.median(some)) / 1000) for name, some in times.items()}
    found = Comparison(
        benchmark="loading",
        times=times,
        agreement=alike,
        device=device,
        settings={name: getattr(options, name) for name in ("kind", "batch", "crop", "workers", "cache_mb")}
        | {"photos": len(ids), "folder": bool(options.folder)},
        more={"photos_per_second": rates},
    )
    show(found, as_json=options.json, notes=[f"{name}: {rate:.1f} photos a second" for name, rate in rates.items()])


def _dataset(options: argparse.Namespace, folder: DatasetFolder, ids: list[str], cache_mb: int) -> Any:
    common = {"folder": folder, "ids": ids, "cache_mb": cache_mb}
    low, high = options.long_side
    augment = training_transform(crop=options.crop, long_side=(low, high), flip=FLIP, jitter=JITTER)
    if options.kind == "tagged":
        return TaggedDataset(**common, transform=augment, with_saliency=True)
    masks = TruthFolder(folder.root)
    if options.kind == "instances":
        return InstanceDataset(**common, masks=masks, transform=augment, min_area=16, paste=0.0)
    scaled = semantic_transform(crop=options.crop, scale=(0.5, 1.5), flip=FLIP, jitter=JITTER)
    return SemanticDataset(**common, masks=masks, transform=scaled)


def _batches(options: argparse.Namespace, dataset: Any, photos: int) -> Iterator[Any]:
    draws = TrainingDraws(photos=photos, batch=options.batch, steps=-(-photos // options.batch), seed=options.seed)
    return load_batches(dataset, draws, join=JOINS[options.kind], workers=options.workers)


def _consume(options: argparse.Namespace, dataset: Any, photos: int) -> None:
    for _ in _batches(options, dataset, photos):
        pass


def _agreement(plain: Iterator[Any], ours: Iterator[Any]) -> float:
    equal = total = 0
    for one, other in zip(plain, ours, strict=True):
        for a, b in zip(_tensors(one), _tensors(other), strict=True):
            equal += int((a == b).sum()) if a.shape == b.shape else 0
            total += a.numel()
    return equal / total


def _tensors(batch: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]


def _written(root: Path, options: argparse.Namespace) -> Path:
    """A dataset folder of so many photos, each with a block of one class, which its saliency map shows."""
    names = [f"{number:05d}" for number in range(options.photos)]
    for name in ("JPEGImages", "SALImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for number, name in enumerate(names):
        noise(SIZE, sides=(4, 16, 64)).save(root / "JPEGImages" / f"{name}.jpg", quality=90)
        labels = np.zeros(SIZE, dtype=np.uint8)
        labels[50 : 150 + number % 200, 100:300] = 1
        write_mask(root / "SegmentationClass" / f"{name}.png", labels)
        soft = Image.fromarray(255 * labels).resize((25, 20)).resize(SIZE[::-1], Image.Resampling.BICUBIC)
        write_saliency(root / "SALImages" / f"{name}.png", np.asarray(soft))
    (root / "ImageSets" / "Segmentation" / f"{options.split}.txt").write_text("\n".join(names))
    content = {"classes": ["thing"], "labels": {name: ["thing"] for name in names}}
    (root / "image_labels.json").write_text(json.dumps(content))
    return root


def _options() -> argparse.Namespace:
    parser = arguments(__doc__, rounds=5)
    parser.set_defaults(warmup=1)
    parser.add_argument("--kind", choices=sorted(JOINS), default="tagged", help="stage 1's, DeepLab's or YOLACT's")
    parser.add_argument("--folder", help="a dataset folder of our layout, in place of noise")
    parser.add_argument("--split", default="train", help="of it (default: train)")
    parser.add_argument("--photos", type=int, default=256, help="at most so many of the split (default: 256)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=321, help="side of the photos that come out (default: 321)")
    parser.add_argument("--long-side", type=int, nargs=2, default=(256, 512), help="of the photos before the crop")
    parser.add_argument("--workers", type=int, default=2, help="processes; 0: this one alone (default: 2)")
    parser.add_argument("--cache-mb", type=int, default=1024, help="MiB for decoded files (default: 1024)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
