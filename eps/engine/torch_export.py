"""A segmenter as a program of `torch.export`."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim


def write_torch(model: nn.Module, example: Float[Tensor, "b c H W"], path: Path, *, dynamic: bool) -> None:
    """Write a model of one input as what `torch.export.load` reads; `dynamic` leaves the batch open."""
    shapes = ({0: Dim("batch", min=1)},) if dynamic else None
    torch.export.save(torch.export.export(model, (example,), dynamic_shapes=shapes), path)


def run_torch(path: Path, images: Float[Tensor, "b c H W"]) -> list[Float[np.ndarray, "..."]]:
    """The outputs of such a file."""
    program = torch.export.load(path).module()
    with torch.inference_mode():
        found = program(images)
    return [output.numpy() for output in (found if isinstance(found, tuple) else (found,))]
