"""The second stage that EPS's paper trains on its pseudo-masks: DeepLab, which gives semantic maps and no instances."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_weight

from eps.errors import UserError
from eps.nn.weights import fitted, read_state_dict

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What torchvision's ResNets are trained with."""


class DeepLabOutput(NamedTuple):
    semantic: Float[Tensor, "b c1 h w"]
    """Semantic map logits at stride 8, background last."""


class DeepLab(nn.Module):
    """Photo -> C + 1 semantic maps: a dilated ResNet and atrous spatial pyramid pooling (Chen et al., 2017).

    `backbone` gives a mapping whose `out` is the last feature map, `head` makes maps of it: torchvision's parts.
    `frozen_norm`, for batches of few photos, keeps every batch norm at its stored statistics while training, and those
    of the backbone as they were loaded, scale and shift too.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, backbone: nn.Module, head: nn.Module, frozen_norm: bool, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.frozen_norm = frozen_norm
        for norm in _norms(backbone) if frozen_norm else []:
            norm.requires_grad_(False)
        self.register_buffer("mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "DeepLab":
        super().train(mode)
        if self.frozen_norm:
            for norm in _norms(self):
                norm.eval()
        return self

    def normalize(self, photos: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """Photos in 0..1 (RGB) -> what `forward` takes."""
        return (photos - self.mean) / self.std

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> DeepLabOutput:
        maps: Tensor = self.head(self.backbone(images)["out"])
        return DeepLabOutput(maps)


def _norms(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def load_resnet_weights(model: DeepLab, *, name: str, source: str) -> None:
    """Start the ResNet from published weights, in place: `imagenet` (torchvision downloads them), `file:PATH`, `none`.

    A file is a state dict with torchvision's names (timm's are the same); a classification layer in it is left out.
    Raises `UserError` where it does not fit.
    """
    setting = f"segmenter.deeplab.weights={source}"
    kind, _, where = source.partition(":")
    if kind == "none":
        return
    state = _downloaded_state(name, setting) if kind == "imagenet" else read_state_dict(Path(where), setting=setting)
    wanted = model.backbone.state_dict()
    model.backbone.load_state_dict(fitted(state, wanted, source=f"{setting} for {name}", exactly=False))


def _downloaded_state(name: str, setting: str) -> Mapping[str, Tensor]:
    published = {"resnet50": "ResNet50_Weights.IMAGENET1K_V1", "resnet101": "ResNet101_Weights.IMAGENET1K_V1"}
    try:
        state: Mapping[str, Tensor] = get_weight(published[name]).get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{setting}: torchvision cannot get the weights of {name}: {reason}") from error
    return state
