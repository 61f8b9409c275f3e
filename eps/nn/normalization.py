"""What a network takes in place of a photo's colours."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What timm's and torchvision's networks are trained with."""

Photos = Float[Tensor, "b 3 H W"] | UInt8[Tensor, "b 4 H W"]
"""RGB in 0..1, or RGBA in bytes, where what pads a photo is transparent."""


class Normalization(nn.Module):
    """Photos -> what a network takes: each channel (RGB in 0..1) less its mean, over its standard deviation.

    What pads a photo becomes zero, as if it had the mean colour. Mean and deviation are in no checkpoint: the model's
    description has them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Float[Tensor, "3"], std: Float[Tensor, "3"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(3, 1, 1), persistent=False)

    def forward(self, photos: Photos) -> Float[Tensor, "b 3 H W"]:
        if photos.dtype != torch.uint8:
            return (photos - self.mean) / self.std
        colours, opaque = photos[:, :3], photos[:, 3:] > 0
        floats = colours.to(self.mean.dtype).mul_(1 / 255)
        return ((floats - self.mean) / self.std).where(opaque, 0)
