"""Optimizers with the papers' parameter groups, and learning-rate schedules."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def parameter_groups(
    model: nn.Module,
    *,
    last: Iterable[nn.Parameter],
    lr: float,
    weight_decay: float,
    bias_scale: float,
    last_scale: float,
    pretrained: Iterable[nn.Parameter] = (),
    pretrained_scale: float = 1.0,
    decay_biases: bool = False,
) -> list[dict[str, Any]]:
    """EPS's four groups: weights, biases (and norms), and the same of the last layer; and two of pretrained ones.

    Rates are lr times 1, `bias_scale`, `last_scale` and their product (EPS, training details: 1, 2, 10, 20), those of
    `pretrained` layers times `pretrained_scale` and its product with `bias_scale`. Biases do not decay unless
    `decay_biases` says that everything does (the released YOLACT). Groups without a parameter are left out; so are
    frozen parameters.
    """
    kind_of = {id(parameter): "pretrained" for parameter in pretrained} | {id(parameter): "last" for parameter in last}
    groups: list[dict[str, Any]] = []
    for kind, scale in (("pretrained", pretrained_scale), ("new", 1.0), ("last", last_scale)):
        for is_bias, factor, decays in ((False, 1.0, True), (True, bias_scale, decay_biases)):
            members = [
                p
                for p in model.parameters()
                if p.requires_grad and kind_of.get(id(p), "new") == kind and (p.ndim <= 1) == is_bias
            ]
            if members:
                decay = weight_decay if decays else 0.0
                groups.append({"params": members, "lr": lr * scale * factor, "weight_decay": decay})
    return groups


def build_optimizer(
    groups: Sequence[dict[str, Any]], *, kind: Literal["sgd", "adamw"], lr: float, momentum: float
) -> Optimizer:
    """SGD with momentum, or AdamW whose first beta is `momentum`; each step is one pass over all weights (fused)."""
    if kind == "sgd":
        return torch.optim.SGD(list(groups), lr=lr, momentum=momentum, fused=True)
    return torch.optim.AdamW(list(groups), lr=lr, betas=(momentum, 0.999), fused=True)


def poly(*, steps: int, power: float, warmup: int) -> Callable[[int], float]:
    """(1 - step / steps)^power after a linear warm-up: the rate's factor at a step (EPS: power 0.9)."""
    return lambda step: min(1.0, (step + 1) / (warmup + 1)) * max(0.0, 1 - step / steps) ** power


def drops(*, steps: int, at: Sequence[float], warmup: int, by: float = 0.1) -> Callable[[int], float]:
    """Times `by` at each of the given shares of the run, after a linear warm-up from a tenth (YOLACT, section 4)."""

    def factor(step: int) -> float:
        start = 0.1 + 0.9 * min(1.0, step / warmup) if warmup else 1.0
        passed: int = sum(step >= share * steps for share in at)
        return start * by**passed

    return factor


def schedule(optimizer: Optimizer, factor: Callable[[int], float]) -> LambdaLR:
    """Every group's rate times the factor of the step."""
    return LambdaLR(optimizer, factor)
