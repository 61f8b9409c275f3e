"""Whether a run will fit into memory, asked before it starts: `runtime.memory_limit`."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from eps.data.images import read_image_size
from eps.engine import ranks
from eps.engine.memory import StepMemory, allowed, localization_memory, training_memory
from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.schema import Config
from eps.schema.classifier import ClassifierConfig
from eps.schema.runtime import Precision
from eps.schema.segmenter import SegmenterConfig, SegmenterKind
from eps.schema.training import OptimizerKind

MOST_AT_ONCE = 16
"""Photos that one pass localizes where memory would hold more."""
WAY_OUT = "or try it nevertheless with runtime.memory_limit=-1"


def demand_for_training(
    cfg: Config, node: ClassifierConfig | SegmenterConfig, model: nn.Module, device: torch.device
) -> None:
    """Raise `UserError` where a training step is estimated to need more memory than there is, with what would fit."""
    if cfg.runtime.memory_limit < 0:
        return
    needed = step_memory(cfg, node, model)
    most, own = allowed(cfg.runtime.memory_limit, device), node.batch // ranks.count()
    if needed is None or needed.of(own // cfg.runtime.accumulate) <= most:
        return
    fitting = [parts for parts in range(1, own + 1) if own % parts == 0 and needed.of(own // parts) <= most]
    hint = f"runtime.accumulate={fitting[0]} fits" if fitting else "no photo alone fits: take a smaller size or network"
    key = "classifier" if isinstance(node, ClassifierConfig) else "segmenter"
    told = f"a step needs about {needed.of(own // cfg.runtime.accumulate):.3g} GiB, of {most:.3g} on {device}"
    raise UserError(f"{key}.batch={node.batch}: {told}; {hint}, {WAY_OUT}")


def demand_for_maps(cfg: Config, model: Classifier, photos: Iterable[Path], device: torch.device) -> None:
    """Raise `UserError` where the largest photo's localization maps are estimated to need more memory than there is."""
    if cfg.runtime.memory_limit < 0:
        return
    sizes = {path: read_image_size(path) for path in photos}
    if not sizes:
        return
    largest = max(sizes, key=lambda path: sizes[path][0] * sizes[path][1])
    demand_for_photo(cfg, model, sizes[largest], device, called=str(largest))


def demand_for_photo(
    cfg: Config, model: Classifier, size: tuple[int, int], device: torch.device, *, called: str
) -> None:
    """Raise `UserError` where the maps of a photo of this size (width, height) are estimated to need too much."""
    if cfg.runtime.memory_limit < 0:
        return
    width, height = size
    most, scales, flip = allowed(cfg.runtime.memory_limit, device), cfg.pseudo_masks.scales, cfg.pseudo_masks.flip
    needed = {scale: localization_memory(model, size=(height, width), scale=scale, flip=flip) for scale in scales}
    over = {scale: gib for scale, gib in needed.items() if gib is not None and gib > most}
    if not over:
        return
    fitting = [f"{scale:g}" for scale in sorted(needed) if scale not in over]
    hint = f"scales up to {fitting[-1]} fit" if fitting else "none of the scales fits: make the photo smaller"
    told = f"{called} of {width}x{height} needs about {max(over.values()):.3g} GiB, of {most:.3g} on {device}"
    shown = ",".join(map(str, scales))
    raise UserError(f"pseudo_masks.scales=[{shown}]: {told}; {hint}, {WAY_OUT}")


def photos_at_once(cfg: Config, model: Classifier, size: tuple[int, int], device: torch.device) -> int:
    """How many photos of a size (width, height) are localized in one pass: `runtime.batch`, or what fits."""
    if cfg.runtime.batch:
        return cfg.runtime.batch
    most, node = allowed(max(0, cfg.runtime.memory_limit), device), cfg.pseudo_masks
    needed = localization_memory(model, size=size[::-1], scale=max(node.scales), flip=node.flip)
    # each takes less than one alone, which the weights are counted with
    return 1 if needed is None else max(1, min(MOST_AT_ONCE, int(most / needed)))


def step_memory(cfg: Config, node: ClassifierConfig | SegmenterConfig, model: nn.Module) -> StepMemory | None:
    """Of a training step; None where nobody knows."""
    return training_memory(
        model,
        size=photo_size(node),
        optimizer_states=2 if node.optim.kind is OptimizerKind.adamw else 1,
        half=cfg.runtime.precision is not Precision.fp32,
    )


def photo_size(node: ClassifierConfig | SegmenterConfig) -> tuple[int, int]:
    """(height, width) of a training photo."""
    if isinstance(node, SegmenterConfig) and node.kind is SegmenterKind.yolact:
        return node.image_size[0], node.image_size[1]
    return node.augment.crop, node.augment.crop
