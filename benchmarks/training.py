"""Training: steps of either stage on photos that are in memory; `python -m benchmarks.training`.

The plain form is float32, contiguous, with the optimizer's loop over the weights. Ours is `eps.engine.descent.Descent`
with `--precision`, channels last and the fused optimizer of `eps.engine.optim`. Both start from the same weights and
see the same batches: the agreement is 1 - |difference| / plain loss, of the means over the last half of the steps.
`plain again` in the JSON object is the same of the plain form on other batches, which says what noise is.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import OURS, PLAIN, Call, Comparison, arguments, interleave, prepare, show
from eps.data.samples import PhotoInstances, TaggedPhotos
from eps.engine import optim, runtime
from eps.engine.criteria import instance_losses
from eps.engine.descent import Descent, Losses
from eps.losses.classification import pooled_logits, tag_loss
from eps.losses.eps import eps_loss
from eps.models.classifier import Classifier
from eps.models.segmenter import Segmenter
from eps.models.spec import ClassifierSpec, SegmenterSpec, TrunkSpec, build_classifier, build_segmenter
from eps.nn.normalization import IMAGENET_MEAN, IMAGENET_STD

RATE = 1e-3
Criterion = Callable[[nn.Module, Any, int], Losses]
Batches = list[Any]


class Plain:
    """A step as written: forward, backward, a loop over the weights."""

    def __init__(self, model: nn.Module, criterion: Criterion, device: torch.device) -> None:
        self.model, self.criterion, self.device = model.to(device).train(), criterion, device
        self.optimizer = torch.optim.SGD(_groups(model), lr=RATE, momentum=0.9, foreach=False)

    def __call__(self, batch: Any, step: int) -> float:
        self.optimizer.zero_grad()
        losses = self.criterion(self.model, batch, step)
        losses.total.backward()
        self.optimizer.step()
        return float(losses.total)


class Ours:
    """What the training verbs do."""

    def __init__(
        self, model: nn.Module, criterion: Criterion, options: argparse.Namespace, device: torch.device
    ) -> None:
        accelerator = runtime.start(
            device=device.type, precision=options.precision, threads=options.threads, seed=options.seed
        )
        model = model.to(device).to(memory_format=torch.channels_last)
        optimizer = optim.build_optimizer(_groups(model), kind="sgd", lr=RATE, momentum=0.9)
        self.descend: Descent[Any] = Descent(
            model=model, criterion=criterion, optimizer=optimizer, accelerator=accelerator, clip=0
        )

    def __call__(self, batch: Any, step: int) -> float:
        told = self.descend([batch], step)
        return float("nan") if told is None else told[1]


def main() -> None:
    """Compare and print."""
    options = _options()
    device = prepare(options)
    made = _classifier if options.stage == 1 else _segmenter
    model, criterion_of, batches_of = made(options)
    batches = batches_of(options.seed, device)

    def plain() -> Plain:
        own = copy.deepcopy(model)
        return Plain(own, criterion_of(own), device)

    own = copy.deepcopy(model)
    steps: dict[str, Plain | Ours] = {PLAIN: plain(), OURS: Ours(own, criterion_of(own), options, device)}
    curves = {name: _curve(step, batches, options.steps) for name, step in steps.items()}
    noise = _curve(plain(), batches_of(options.seed + 1, device), options.steps)
    calls: dict[str, Call] = {name: partial(step, batches[0], 0) for name, step in steps.items()}
    times = interleave(calls, rounds=options.rounds, warmup=options.warmup, device=device)
    rates = {name: options.batch / (float(np.median(some)) / 1000) for name, some in times.items()}
    found = Comparison(
        benchmark="training",
        times=times,
        agreement=_agreement(curves[PLAIN], curves[OURS]),
        device=device,
        settings={
            name: getattr(options, name) for name in ("stage", "backbone", "batch", "size", "precision", "steps")
        },
        more={"photos_per_second": rates, "losses": curves, "plain again": _agreement(curves[PLAIN], noise)},
    )
    notes = [
        f"{name}: {rate:.2f} photos a second, loss {curves[name][0]:.4f} -> {curves[name][-1]:.4f}"
        for name, rate in rates.items()
    ]
    show(found, as_json=options.json, notes=notes)


def _curve(step: Plain | Ours, batches: Batches, steps: int) -> list[float]:
    return [step(batches[number % len(batches)], number) for number in range(steps)]


def _agreement(plain: list[float], other: list[float]) -> float:
    expected, found = (float(np.mean(some[len(some) // 2 :])) for some in (plain, other))
    return 1 - abs(expected - found) / abs(expected)


def _groups(model: nn.Module) -> list[dict[str, Any]]:
    return optim.parameter_groups(model, last=[], lr=RATE, weight_decay=5e-4, bias_scale=2, last_scale=10)


def _trunk(options: argparse.Namespace) -> TrunkSpec:
    return TrunkSpec(
        backbone=options.backbone,
        frozen_norm=False,
        fpn_channels=64,
        head_channels=64,
        head_depth=1,
        prototypes=32,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _names(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(options.classes))


def _classifier(options: argparse.Namespace) -> tuple[Classifier, Callable[[Any], Criterion], Callable[..., Batches]]:
    """Stage 1: EPS's two terms."""
    model = build_classifier(ClassifierSpec(trunk=_trunk(options), classes=_names(options), background=True))

    def criterion_of(own: Classifier) -> Criterion:
        def criterion(model: nn.Module, batch: TaggedPhotos, step: int) -> Losses:
            maps = model(own.normalize(batch.photos)).maps
            tags = tag_loss(pooled_logits(maps[:, :-1]), batch.tags)
            saliency = eps_loss(maps, batch.saliency / 255, batch.tags, tau=0.4, lam=0.5).loss
            return Losses(total=tags + saliency, terms={"tags": tags, "saliency": saliency})

        return criterion

    def batches_of(seed: int, device: torch.device) -> Batches:
        torch.manual_seed(seed)
        made = []
        for _ in range(options.batches):
            photos, blobs = _photos(options), _blobs(options, options.batch)
            tags = F.one_hot(torch.randint(options.classes, (options.batch,)), options.classes).float()
            made.append(TaggedPhotos(*(part.to(device) for part in (photos, 255 * blobs[:, None].byte(), tags))))
        return made

    return model, criterion_of, batches_of


def _segmenter(options: argparse.Namespace) -> tuple[Segmenter, Callable[[Any], Criterion], Callable[..., Batches]]:
    """Stage 3: YOLACT's terms and the semantic map's."""
    spec = SegmenterSpec(
        trunk=_trunk(options),
        classes=_names(options),
        image_size=(options.size, options.size),
        scales=tuple((options.size * 24 / 550 * 2**level,) for level in range(5)),
        ratios=(1.0, 0.5, 2.0),
    )

    def criterion_of(own: Segmenter) -> Criterion:
        weights = {"box_weight": 1.5, "class_weight": 1.0, "mask_weight": 6.125, "semantic_weight": 1.0}
        return partial(
            instance_losses,
            normalize=own.normalize,
            tag_weight=0,
            mask_iou_weight=0.0,
            min_mask_side=0.0,
            masks_per_image=100,
            mask_scorer=None,
            sigmoid_maps=False,
            **weights,
        )

    def batches_of(seed: int, device: torch.device) -> Batches:
        torch.manual_seed(seed)
        return [_instances(options, device) for _ in range(options.batches)]

    return build_segmenter(spec), criterion_of, batches_of


def _instances(options: argparse.Namespace, device: torch.device) -> list[PhotoInstances]:
    """Each photo with three blobs."""
    made = []
    for photo in _photos(options):
        masks = _blobs(options, 3)
        classes = torch.randint(options.classes, (3,))
        semantic = (masks * (classes + 1)[:, None, None]).amax(dim=0).to(torch.uint8)
        tags = torch.isin(torch.arange(options.classes), classes).float()
        parts = (photo, semantic, masks, classes, torch.zeros(3, dtype=torch.bool), tags)
        made.append(PhotoInstances(*(part.to(device) for part in parts)))
    return made


def _photos(options: argparse.Namespace) -> Tensor:
    size = (options.size, options.size)
    return F.interpolate(torch.rand(options.batch, 3, 16, 16), size=size, mode="bilinear")


def _blobs(options: argparse.Namespace, count: int) -> Tensor:
    """Round masks (count, size, size) anywhere."""
    place = torch.linspace(0, 1, options.size)
    centres, radii = torch.rand(count, 2, 1, 1) * 0.6 + 0.2, torch.rand(count, 1, 1) * 0.15 + 0.1
    return (place[:, None] - centres[:, 0]) ** 2 + (place - centres[:, 1]) ** 2 < radii**2


def _options() -> argparse.Namespace:
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("--stage", type=int, choices=[1, 3], default=1, help="1: the classifier, 3: the segmenter")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="side of the photos (default: 224)")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--batches", type=int, default=4, help="different batches, in turn")
    parser.add_argument("--steps", type=int, default=40, help="of the loss curves, before the clock runs")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="bf16")
    return parser.parse_args()


if __name__ == "__main__":
    main()
