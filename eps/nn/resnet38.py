"""WideResNet-38: the wide, dilated, pre-activation network of EPS."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ResNet38(nn.Module):
    """Photo -> 4096 features at stride 8 (Wu, Shen and van den Hengel, "Wider or deeper", 2016, model A1, dilated).

    What would halve the resolution after stride 8 dilates instead: by 2 in the fifth group, by 4 in the last two
    blocks, which drop channels at rates 0.3 and 0.5. Names of weights are those of EPS's checkpoints. The output is a
    list of one, as from timm's feature extractors. `stages` are its blocks from the stem on: EPS freezes the first two.
    """

    channels = 4096
    stride = 8
    stages = (
        ("conv1a",),
        ("b2", "b2_1", "b2_2"),
        ("b3", "b3_1", "b3_2"),
        ("b4", "b4_1", "b4_2", "b4_3", "b4_4", "b4_5"),
        ("b5", "b5_1", "b5_2"),
        ("b6",),
        ("b7", "bn7"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.conv1a = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.b2 = PlainBlock(64, 128, 128, stride=2)
        self.b2_1 = PlainBlock(128, 128, 128)
        self.b2_2 = PlainBlock(128, 128, 128)
        self.b3 = PlainBlock(128, 256, 256, stride=2)
        self.b3_1 = PlainBlock(256, 256, 256)
        self.b3_2 = PlainBlock(256, 256, 256)
        self.b4 = PlainBlock(256, 512, 512, stride=2)
        self.b4_1 = PlainBlock(512, 512, 512)
        self.b4_2 = PlainBlock(512, 512, 512)
        self.b4_3 = PlainBlock(512, 512, 512)
        self.b4_4 = PlainBlock(512, 512, 512)
        self.b4_5 = PlainBlock(512, 512, 512)
        self.b5 = PlainBlock(512, 512, 1024, first_dilation=1, dilation=2)
        self.b5_1 = PlainBlock(1024, 512, 1024, first_dilation=2, dilation=2)
        self.b5_2 = PlainBlock(1024, 512, 1024, first_dilation=2, dilation=2)
        self.b6 = BottleneckBlock(1024, 2048, dilation=4, dropout=0.3)
        self.b7 = BottleneckBlock(2048, 4096, dilation=4, dropout=0.5)
        self.bn7 = nn.BatchNorm2d(4096)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b 4096 h w"]]:
        x: Tensor = images
        *blocks, norm = self.children()
        for block in blocks:
            x = block(x)
        return [F.relu(norm(x))]


class PlainBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, beside a shortcut.

    Where size or channels change, the shortcut is a 1x1 convolution of the activated input, else the input itself.
    """

    def __init__(
        self, inputs: int, middle: int, outputs: int, *, stride: int = 1, first_dilation: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _convolution(inputs, middle, stride=stride, dilation=first_dilation)
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = _convolution(middle, outputs, dilation=dilation)
        changes = inputs != outputs or stride != 1
        self.conv_branch1 = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        active = F.relu(self.bn_branch2a(x))
        branch: Tensor = self.conv_branch2a(active)
        branch = self.conv_branch2b1(F.relu(self.bn_branch2b1(branch)))
        shortcut: Tensor = x if self.conv_branch1 is None else self.conv_branch1(active)
        return shortcut + branch


class BottleneckBlock(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1, each after batch norm and ReLU, beside a 1x1 shortcut of the activated input.

    Before the second and third convolution whole channels drop out.
    """

    def __init__(self, inputs: int, outputs: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = nn.Conv2d(inputs, outputs // 4, 1, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(outputs // 4)
        self.conv_branch2b1 = _convolution(outputs // 4, outputs // 2, dilation=dilation)
        self.bn_branch2b2 = nn.BatchNorm2d(outputs // 2)
        self.conv_branch2b2 = nn.Conv2d(outputs // 2, outputs, 1, bias=False)
        self.conv_branch1 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        active = F.relu(self.bn_branch2a(x))
        branch: Tensor = self.conv_branch2a(active)
        branch = self.conv_branch2b1(self.dropout(F.relu(self.bn_branch2b1(branch))))
        branch = self.conv_branch2b2(self.dropout(F.relu(self.bn_branch2b2(branch))))
        shortcut: Tensor = self.conv_branch1(active)
        return shortcut + branch


def _convolution(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """3x3 without a bias, padded so that only the stride changes the size."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
