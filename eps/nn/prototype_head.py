"""The prototype head: one set of planes, from which class maps and instance masks are both combined."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class PrototypeHead(nn.Module):
    """Features -> k non-negative prototype planes (YOLACT's protonet, Bolya et al., ICCV 2019, section 3.1).

    `depth` 3x3 convolutions with ReLU; with `upsample`, a bilinear doubling with ReLU and one more 3x3 convolution
    with ReLU; then a 1x1 convolution to `prototypes` planes with ReLU. YOLACT's own is depth 3 on P3 with upsampling;
    without it the head stays at the resolution of its input.
    """

    def __init__(self, *, in_channels: int, channels: int, prototypes: int, depth: int = 3, upsample: bool) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * depth
        self.before = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.after = nn.Conv2d(widths[-1], channels, 3, padding=1) if upsample else None
        self.planes = nn.Conv2d(channels if upsample else widths[-1], prototypes, 1)
        self.prototypes = prototypes

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h2 w2"]:
        x: Tensor = features
        for convolution in self.before:
            x = F.relu(convolution(x))
        if self.after is not None:
            x = F.relu(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
            x = F.relu(self.after(x))
        return F.relu(self.planes(x))
