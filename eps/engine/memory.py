"""What a step needs of a device's memory, found out before it runs: the network is run on torch's meta device.

There tensors have sizes and no content. What is counted are the tensors that are alive at the same time; what a library
allocates for itself comes on top, which is what `MARGIN` stands for.
"""

import copy
import os
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GIB = 2**30
PHOTOS = 2
"""So many pass for the count: batch norms want more than one."""
MARGIN = 1.2
"""Of workspaces of convolutions and of what lies between allocations."""
LOSS_COPIES = 4
"""Class maps at the size of the photo that a loss holds: enlarged, their logarithms, and the gradients of both."""


class StepMemory(NamedTuple):
    """Bytes of a training step: whatever the batch, and for each photo of it that passes at once."""

    fixed: int
    per_photo: int

    def of(self, photos: int) -> float:
        """For so many photos at once, in GiB."""
        return MARGIN * (self.fixed + self.per_photo * photos) / GIB


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes that tensors made by `work` take at the same time."""
    live = _Live()
    with live:
        work()
    return live.peak


def training_memory(model: nn.Module, *, size: tuple[int, int], optimizer_states: int, half: bool) -> StepMemory | None:
    """Of a step on photos of a size (height, width): weights, gradients, the optimizer's states, and activations.

    `half` is for 16-bit precision, whose activations take half. None where the meta device cannot run the network.
    """
    try:
        passing = _pass_bytes(model, size, half)
    except (NotImplementedError, RuntimeError):
        return None
    return StepMemory(fixed=_held(model) + _learning(model) * (1 + optimizer_states), per_photo=passing)


def localization_memory(model: Any, *, size: tuple[int, int], scale: float, flip: bool) -> float | None:
    """GiB that the localization maps of a photo of a size (height, width) need at a scale.

    None where the meta device cannot run the network.
    """
    there = copy.deepcopy(model).to("meta").eval()
    height, width = (max(1, round(side * scale)) for side in size)
    found: list[int] = []

    def work() -> None:
        maps = there.localization(torch.empty((1 + flip, 3, height, width), device="meta"), size=size)
        found.append(_bytes(maps[:1]))

    try:
        with torch.inference_mode():
            peak = peak_bytes(work)
    except (NotImplementedError, RuntimeError):
        return None
    # beside: the sum over scales, and what is added to it
    needed: float = MARGIN * (_held(model) + peak + 2 * found[0]) / GIB
    return needed


def allowed(limit: float, device: torch.device) -> float:
    """GiB that a run may use: `limit`, or what is free where it is 0."""
    return limit or free_gib(device)


def free_gib(device: torch.device) -> float:
    """GiB that are free on a device: of the CPU what the machine, or the container, has left for this process."""
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # of jobs before this one
        return (torch.cuda.mem_get_info(device)[0] + idle) / GIB
    told = os.environ.get("LOCAL_WORLD_SIZE", "")
    sharers = int(told) if told.isdecimal() and int(told) else 1
    available: int = psutil.virtual_memory().available
    return min(available, _left_in_container()) / GIB / sharers


def _left_in_container() -> float:
    place = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((place / name).read_text()) for name in ("memory.max", "memory.current"))
        # what files take is given back when it is needed
        stat = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
        return limit - used + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return float("inf")


def _pass_bytes(model: nn.Module, size: tuple[int, int], half: bool) -> int:
    """Of one photo in a forward and backward pass, gradients of weights left out, with class maps for a loss."""
    there = copy.deepcopy(model).to("meta").train()
    images = torch.empty((PHOTOS, 3, *size), device="meta")
    if half:
        there, images = there.bfloat16(), images.bfloat16()
    gradients = _learning(there)
    channels: list[int] = []

    def work() -> None:
        output = there(images)
        channels.extend(getattr(output, name).shape[1] for name in ("maps", "semantic") if hasattr(output, name))
        leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.requires_grad]
        torch.autograd.backward(torch.stack([leaf.float().sum() for leaf in leaves]).sum())

    with torch.enable_grad():
        passing = max(peak_bytes(work) - gradients, 0) // PHOTOS
    return passing + LOSS_COPIES * max(channels, default=0) * size[0] * size[1] * 4


def _held(model: nn.Module) -> int:
    return _bytes([*model.parameters(), *model.buffers()])


def _learning(model: nn.Module) -> int:
    return _bytes(parameter for parameter in model.parameters() if parameter.requires_grad)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages from when an operation gives them until nothing holds them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._hold(leaf.untyped_storage(), given)
        return made

    def _hold(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key, size = id(storage), storage.nbytes()
        if key in given or key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
