"""How long training and labelling will take, from a few steps."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from eps.engine.latency import timed

Input = TypeVar("Input")
STEPS = 2
"""That are timed, after one that is not."""
CPU_PHOTOS = 2
"""More than so many photos at once take a CPU as much longer: fewer are timed."""


def step_seconds(model: nn.Module, accelerator: Accelerator, *, photos: int, size: tuple[int, int]) -> float:
    """Seconds of a forward and backward pass over so many photos (height, width), about: losses are not in it."""
    device = accelerator.device
    at_once = photos if device.type == "cuda" else min(photos, CPU_PHOTOS)
    model = model.to(device).train()
    images = torch.rand((at_once, 3, *size), device=device).contiguous(memory_format=torch.channels_last)

    def step(images: Tensor) -> None:
        with accelerator.autocast():
            output = model(images)
        leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.requires_grad]
        torch.autograd.backward(torch.stack([leaf.float().mean() for leaf in leaves]).sum())
        model.zero_grad(set_to_none=True)

    return mean_seconds(step, [images] * STEPS, device=device) * photos / at_once


def mean_seconds(call: Callable[[Input], object], inputs: Sequence[Input], *, device: torch.device) -> float:
    """Seconds of a call, in the mean over inputs, the first of which is given once more before, to warm up."""
    call(inputs[0])
    return sum(timed(call, value, device) for value in inputs) / len(inputs)
