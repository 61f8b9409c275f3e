"""What a network takes in place of a photo's colours."""

from jaxtyping import Float
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What timm's and torchvision's networks are trained with."""


class Normalization(nn.Module):
    """Photos in 0..1 (RGB) -> what a network takes: each channel less its mean, over its standard deviation.

    Both are in no checkpoint: the model's description has them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Float[Tensor, "3"], std: Float[Tensor, "3"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(3, 1, 1), persistent=False)

    def forward(self, photos: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        return (photos - self.mean) / self.std
