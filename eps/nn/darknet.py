"""DarkNet-53 (Redmon and Farhadi, YOLOv3), as the released YOLACT has it; timm's is another layout."""

from jaxtyping import Float
from torch import Tensor, nn


class DarkNet53(nn.Module):
    """Features at strides 2, 4, 8, 16 and 32, finest first: a strided convolution and residual blocks a stage.

    Every convolution is followed by batch norm and leaky ReLU 0.1. Source: YOLOv3, table 1, without its classifier.
    """

    BLOCKS = (1, 2, 8, 8, 4)
    STRIDES = (2, 4, 8, 16, 32)
    CHANNELS = (64, 128, 256, 512, 1024)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 32, kernel=3)
        widths = zip((32, *self.CHANNELS[:-1]), self.CHANNELS, self.BLOCKS, strict=True)
        self.stages = nn.ModuleList(
            nn.Sequential(_convolution(before, width, kernel=3, stride=2), *(_Block(width) for _ in range(blocks)))
            for before, width, blocks in widths
        )

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        features = [self.stem(images)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


class _Block(nn.Module):
    """x + 3x3(1x1(x)), with half the channels between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = _convolution(channels, channels // 2, kernel=1)
        self.widen = _convolution(channels // 2, channels, kernel=3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        change: Tensor = self.widen(self.narrow(x))
        return x + change


def _convolution(in_channels: int, channels: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.1, inplace=True),
    )
