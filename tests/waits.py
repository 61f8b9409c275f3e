"""What a training step would make a GPU's host wait for: seen on a CPU by the operations that do."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

VALUES = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.masked_select.default"}
"""Operations after which a number, or the size of a tensor, is known to Python."""


class Waits(TorchDispatchMode):
    """Counts them; choosing rows by a mask is one, too."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        chosen = args[1] if str(func).startswith("aten.index") and isinstance(args[1], Sequence) else ()
        by_mask = any(isinstance(index, Tensor) and index.dtype is torch.bool for index in chosen)
        if by_mask or str(func) in VALUES:
            self.found[str(func)] += 1
        return func(*args, **(kwargs or {}))


def waits_of(work: Callable[[], object]) -> int:
    with Waits() as waits:
        work()
    return waits.found.total()
