"""A segmenter as a program of `torch.export`."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.export import Dim

from eps.engine.exported import INPUT, ExportedSegmenter


def write_torch(model: ExportedSegmenter, example: Float[Tensor, "b 3 H W"], path: Path, *, dynamic: bool) -> None:
    """Write a model as what `torch.export.load` reads; `dynamic` leaves the batch open."""
    shapes = {INPUT: {0: Dim("batch", min=1)}} if dynamic else None
    torch.export.save(torch.export.export(model, (example,), dynamic_shapes=shapes), path)


def run_torch(path: Path, images: Float[Tensor, "b 3 H W"]) -> list[Float[np.ndarray, "..."]]:
    """The outputs of such a file."""
    program = torch.export.load(path).module()
    with torch.inference_mode():
        return [output.numpy() for output in program(images)]
