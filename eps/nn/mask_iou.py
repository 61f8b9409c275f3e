"""The mask re-scoring network of YOLACT++: how well does a mask fit, should it be of this class or that."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (1, 8, 16, 32, 64, 128)


class MaskIoUNet(nn.Module):
    """Cropped masks in 0..1 at prototype resolution -> their predicted IoU with the truth, one number a class.

    Five 3x3 convolutions of stride 2 without padding and a 1x1 to the classes, each with ReLU, then the maximum over
    the map. Masks smaller than 63 pixels a side are padded with zeros to that.
    Source: YOLACT++ section 6.1 (fast mask re-scoring).
    """

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(a, b, 3, stride=2) for a, b in pairwise(CHANNELS)]
        self.convolutions = nn.ModuleList([*layers, nn.Conv2d(CHANNELS[-1], classes, 1)])

    def forward(self, masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n classes"]:
        x = _padded(masks)
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        return x.amax(dim=(2, 3))


def _padded(masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h2 w2"]:
    """At least 63 x 63, below which the last strided convolution has nothing left: 63, 31, 15, 7, 3, 1."""
    height, width = masks.shape[-2:]
    return F.pad(masks, (0, max(0, 63 - width), 0, max(0, 63 - height)))
