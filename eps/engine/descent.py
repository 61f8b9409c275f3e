"""One step of training on a batch that may be divided: among processes, and among passes of one process.

However it is divided, the gradient is that of the whole batch, up to rounding.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from jaxtyping import Float
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from eps.engine import ranks
from eps.engine.progress import remark
from eps.nn.norms import batch_norms

Batch = TypeVar("Batch")


class Losses(NamedTuple):
    """The loss to descend and the terms to write down."""

    total: Float[Tensor, ""]
    terms: Mapping[str, Tensor]


class Descent(Generic[Batch]):
    """A model with what it descends by: `criterion(model, batch, step)`, a mean over the photos.

    A criterion that divides by something else, a count in a batch's truth, gives `count` (numbers (k,) of a batch). In
    a batch in several parts it is handed `counted`: what each part has to divide by, so that the mean over the parts is
    right.

    Several processes each hold a copy, whose gradients are averaged (torch's DistributedDataParallel). The criterion
    runs inside of what is distributed: it may use parts of the model (YOLACT++'s mask-IoU net), and may leave others
    out (a classifier's coarser levels), which keep no gradient then. Batch norms that move take their statistics from
    all processes on CUDA; on the CPU, for which torch has no such norm, each process from its own photos, and rank 0's
    running ones count.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        criterion: Callable[..., Losses],
        optimizer: Optimizer,
        accelerator: Accelerator,
        clip: float,
        count: Callable[[Batch], Float[Tensor, " k"]] | None = None,
    ) -> None:
        self.model, self.accelerator, self.clip, self.count = model, accelerator, clip, count
        model.train()
        if ranks.count() > 1:
            _share_norms(model, accelerator.device)
        # to the device and under autocast; as if for evaluation, because what is distributed is more than the model
        prepared = accelerator.prepare_model(model, evaluation_mode=True)
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.scored: nn.Module = _Scored(prepared, criterion)
        if ranks.count() > 1:
            self.scored = DistributedDataParallel(self.scored, find_unused_parameters=True)

    def __call__(self, parts: Sequence[Batch], step: int) -> tuple[dict[str, float], float] | None:
        """One step down on all parts of this process's batch: the terms and the loss, means over all processes.

        None where the loss or a gradient is not finite, on any process: then nothing has changed on any.
        """
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        names, means = self._gradients([send_to_device(part, self.accelerator.device) for part in parts], step)
        total, norm, *terms = torch.stack([means[0], self._norm().to(means), *means[1:]]).tolist()  # the one wait
        if not (math.isfinite(total) and math.isfinite(norm)):
            self._put_back(statistics)
            if self.accelerator.scaler is not None:  # as it was, and ready for the next step
                self.accelerator.scaler.update(self.accelerator.scaler.get_scale())
            return None
        self.optimizer.step()
        return dict(zip(names, terms, strict=True)), total

    def _gradients(self, parts: Sequence[Batch], step: int) -> tuple[list[str], Float[Tensor, " k"]]:
        """What terms are called; and means over all parts and processes: of the loss, then of the terms."""
        self.optimizer.zero_grad()
        counted = self._counted(parts)
        told: list[Tensor] = []
        names: list[str] = []
        for number, part in enumerate(parts, start=1):
            with nullcontext() if number == len(parts) else self.accelerator.no_sync(self.scored):
                losses: Losses = self.scored(part, step, counted)
                names = list(losses.terms)
                values = [value.detach().to(losses.total) for value in (losses.total, *losses.terms.values())]
                told.append(ranks.mean(torch.stack(values)))
                self.accelerator.backward(losses.total / len(parts))
        return names, torch.stack(told).mean(dim=0)

    def _counted(self, parts: Sequence[Batch]) -> Float[Tensor, " k"] | None:
        """What is counted in the whole batch, at least 1, over the number of its parts; None for one part."""
        if self.count is None or ranks.count() * len(parts) == 1:
            return None
        mean = ranks.mean(torch.stack([self.count(part) for part in parts]).mean(dim=0))
        return mean.clamp(min=1 / (ranks.count() * len(parts)))

    def _norm(self) -> Float[Tensor, ""]:
        """Of the gradient, before it is clipped; 0 where that says nothing.

        Gradients too large for fp16 are the scaler's business: it leaves the step out and scales less.
        """
        limit = self.clip if self.clip > 0 else math.inf
        norm: Tensor | None = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        if norm is None or self.accelerator.scaler is not None:
            return torch.zeros((), device=self.accelerator.device)
        return norm

    def _put_back(self, statistics: Sequence[Tensor]) -> None:
        """What a forward pass has moved: a running mean that is not finite would stay so."""
        with torch.no_grad():
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)


class _Scored(nn.Module):
    """A model and what it is scored by, as one module."""

    def __init__(self, model: nn.Module, criterion: Callable[..., Losses]) -> None:
        super().__init__()
        self.model, self.criterion = model, criterion

    def forward(self, batch: Any, step: int, counted: Tensor | None) -> Losses:
        if counted is None:
            return self.criterion(self.model, batch, step)
        return self.criterion(self.model, batch, step, counted=counted)


def _share_norms(model: nn.Module, device: torch.device) -> None:
    """Let the batch norms that move see the photos of all processes, where torch can; in place."""
    if not any(norm.training for norm in batch_norms(model).values()):
        return
    if device.type == "cpu":
        remark("batch norms see the photos of their own process alone on the CPU (trunk.frozen_norm=true: none)")
    else:
        convert: Callable[[nn.Module], nn.Module] = convert_sync_batchnorm
        convert(model)  # timm's: of its own norms torch's would lose the activation
