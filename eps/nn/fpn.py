"""Feature pyramid (Lin et al., CVPR 2017), in the form that YOLACT uses."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class FPN(nn.Module):
    """Laterals summed top-down, then a 3x3 convolution and ReLU a level; finest level first.

    The lateral of each level is added to the bilinearly resized sum above it (align_corners false); the 3x3
    convolutions come after the whole way down.
    """

    def __init__(self, *, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.predictions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)

    def forward(self, features: Sequence[Float[Tensor, "b _ _ _"]]) -> list[Float[Tensor, "b _ _ _"]]:
        sums: list[Tensor] = []
        for lateral, feature in zip(reversed(self.laterals), reversed(features), strict=True):
            level = lateral(feature)
            if sums:
                level = level + F.interpolate(sums[-1], size=level.shape[-2:], mode="bilinear", align_corners=False)
            sums.append(level)
        return [F.relu(prediction(s)) for prediction, s in zip(self.predictions, reversed(sums), strict=True)]


class ExtraLevels(nn.Module):
    """P6, P7, ...: each a 3x3 convolution of stride 2 on the level before, without an activation."""

    def __init__(self, *, channels: int, levels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(levels))

    def forward(self, coarsest: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b c _ _"]]:
        levels = [coarsest]
        for convolution in self.convolutions:
            levels.append(convolution(levels[-1]))
        return levels[1:]
