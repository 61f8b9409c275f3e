"""Modulated deformable convolutions (Zhu et al., CVPR 2019) in a ResNet's bottlenecks, as YOLACT++ has them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class DeformableConv2d(nn.Module):
    """A 3x3 convolution that samples where a second convolution of its input says, and as strongly.

    Of the 27 channels of `conv_offset_mask` 18 are offsets in pixels (y, x a tap), 9 the taps' logits. It starts at
    zero: no offset, and every tap at half its strength.
    """

    def __init__(self, *, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.conv_offset_mask = nn.Conv2d(in_channels, 27, 3, stride=stride, padding=1)
        for parameter in self.conv_offset_mask.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        offsets, strengths = self.conv_offset_mask(x).split([18, 9], dim=1)
        # torchvision's kernels have no half precision on every device
        full = torch.promote_types(x.dtype, torch.float32)
        x_full, offsets, weight, bias, strengths = (
            tensor.to(full) for tensor in (x, offsets, self.weight, self.bias, strengths)
        )
        made: Tensor = deform_conv2d(
            x_full, offsets, weight, bias, stride=self.stride, padding=1, mask=strengths.sigmoid()
        )
        return made.to(x.dtype)


def make_deformable(stages: Sequence[nn.Module], *, every: int) -> None:
    """Replace the 3x3 convolution `conv2` of every so many bottlenecks of each stage, from its first on, in place.

    A replacement keeps the weights. Raises ValueError where a block has no ungrouped 3x3 `conv2`.
    Source: YOLACT++ section 6.2 (deformable convolution with intervals).
    """
    for stage in stages:
        for block in list(stage.children())[::every] or [stage]:
            block.register_module("conv2", _deformable(getattr(block, "conv2", None)))


def added_keys(body: nn.Module) -> set[str]:
    """Names of the weights that a network's deformable convolutions have beyond those of the plain ones."""
    made = [name for name, module in body.named_modules() if isinstance(module, DeformableConv2d)]
    return {f"{name}.{key}" for name in made for key in ("bias", "conv_offset_mask.weight", "conv_offset_mask.bias")}


def _deformable(plain: nn.Module | None) -> DeformableConv2d:
    fits = isinstance(plain, nn.Conv2d) and (plain.kernel_size, plain.dilation, plain.groups) == ((3, 3), (1, 1), 1)
    if not isinstance(plain, nn.Conv2d) or not fits:
        raise ValueError("deformable convolutions need blocks with a 3x3 convolution conv2, not grouped or dilated")
    made = DeformableConv2d(in_channels=plain.in_channels, channels=plain.out_channels, stride=plain.stride[0])
    with torch.no_grad():
        made.weight.copy_(plain.weight)
    return made
