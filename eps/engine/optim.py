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
) -> list[dict[str, Any]]:
    """EPS's four groups: weights, biases (and norms), and the same of the last layer.

    Rates are lr times 1, `bias_scale`, `last_scale` and their product; biases do not decay (EPS, training details:
    1, 2, 10, 20). Groups without a parameter are left out; so are frozen parameters.
    """
    last_ids = {id(parameter) for parameter in last}
    groups: list[dict[str, Any]] = []
    for in_last, scale in ((False, 1.0), (True, last_scale)):
        for is_bias, factor, decay in ((False, 1.0, weight_decay), (True, bias_scale, 0.0)):
            members = [
                p
                for p in model.parameters()
                if p.requires_grad and (id(p) in last_ids) == in_last and (p.ndim <= 1) == is_bias
            ]
            if members:
                groups.append({"params": members, "lr": lr * scale * factor, "weight_decay": decay})
    return groups


def build_optimizer(
    groups: Sequence[dict[str, Any]], *, kind: Literal["sgd", "adamw"], lr: float, momentum: float
) -> Optimizer:
    """SGD with momentum, or AdamW whose first beta is `momentum`."""
    if kind == "sgd":
        return torch.optim.SGD(list(groups), lr=lr, momentum=momentum)
    return torch.optim.AdamW(list(groups), lr=lr, betas=(momentum, 0.999))


def poly(*, steps: int, power: float, warmup: int) -> Callable[[int], float]:
    """(1 - step / steps)^power after a linear warm-up: the rate's factor at a step (EPS: power 0.9)."""
    return lambda step: min(1.0, (step + 1) / (warmup + 1)) * max(0.0, 1 - step / steps) ** power


def drops(*, steps: int, at: Sequence[float], warmup: int) -> Callable[[int], float]:
    """A tenth at each of the given shares of the run, after a linear warm-up from a tenth (YOLACT, section 4)."""

    def factor(step: int) -> float:
        start = 0.1 + 0.9 * min(1.0, step / warmup) if warmup else 1.0
        passed: int = sum(step >= share * steps for share in at)
        return start * 10.0**-passed

    return factor


def schedule(optimizer: Optimizer, factor: Callable[[int], float]) -> LambdaLR:
    """Every group's rate times the factor of the step."""
    return LambdaLR(optimizer, factor)
