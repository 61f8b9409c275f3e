"""Photos and weights that benchmarks take where they are given none."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F


def photos_in(folder: str) -> list[Path]:
    """The photos of a folder, in the order of their names."""
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".png"))


def noise(size: Sequence[int], *, sides: Sequence[int]) -> Image.Image:
    """A photo of `size` (height, width) with as many scales of blobs, each so many on a side."""
    height, width = size
    scales = [F.interpolate(torch.randn(1, 3, side, side), size=(height, width), mode="bicubic")[0] for side in sides]
    pixels = (torch.stack(scales).sum(dim=0) * 40 + 128).clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


@torch.no_grad()
def fit_norms(model: nn.Module, images: Tensor) -> None:
    """Batch norms with scales at random and the photos' statistics, so that nothing vanishes or explodes.

    Leaves the model in evaluation mode.
    """
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        norm.momentum = 1.0
        norm.train()
    model(images)
    model.eval()
