"""Augmentation of a photo together with its maps and masks (torchvision.transforms.v2)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vf


class RandomLongSide(v2.Transform):
    """Resize so that the long side is drawn uniformly from low..high pixels, aspect ratio kept.

    Photos bicubic, maps and masks by nearest neighbour (EPS, training details).
    """

    def __init__(self, *, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = vf.get_size(flat_inputs[0])
        side = int(torch.randint(self.low, self.high + 1, ()))
        scale = side / max(height, width)
        return {"size": [max(1, round(height * scale)), max(1, round(width * scale))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        # torchvision resizes a Mask by the nearest neighbour, whatever is asked for
        return vf.resize(inpt, params["size"], interpolation=v2.InterpolationMode.BICUBIC, antialias=True)


def training_transform(
    *, crop: int, scale: Sequence[float], flip: float, jitter: Sequence[float], mean: Sequence[float]
) -> v2.Compose:
    """Random size, flip, colour jitter, crop, in that order (EPS, training details).

    Photos are uint8 in and out; where a photo is smaller than the crop it is padded with its mean colour, which is
    zero once it is normalised, and masks with 0.
    """
    fill: dict[Any, Any] = {tv_tensors.Image: [round(255 * m) for m in mean], tv_tensors.Mask: 0}
    return v2.Compose(
        [
            RandomLongSide(low=round(scale[0] * crop), high=round(scale[1] * crop)),
            v2.RandomHorizontalFlip(flip),
            v2.ColorJitter(*jitter),
            v2.RandomCrop(crop, pad_if_needed=True, fill=fill),
        ]
    )


def seeded(transform: v2.Transform, seed: int, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Apply a random transform as a function of `seed` alone, whatever ran before; inputs are tv_tensors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        outputs: Sequence[Tensor] = transform(*inputs)
    return tuple(output.as_subclass(Tensor) for output in outputs)
