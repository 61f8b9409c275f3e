"""The second stage that EPS's paper trains on its pseudo-masks: DeepLab, which gives semantic maps and no instances."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_weight

from eps.errors import UserError, one_line
from eps.nn.normalization import Normalization
from eps.nn.norms import batch_norms
from eps.nn.weights import fitted, read_state_dict


class DeepLabOutput(NamedTuple):
    semantic: Float[Tensor, "b c1 h w"]
    """Semantic map logits at the backbone's last stride (8 or 16), background last."""


class DeepLab(nn.Module):
    """Photo -> C + 1 semantic maps: a dilated backbone and atrous spatial pyramid pooling (Chen et al., 2017).

    `backbone` is torchvision's, which gives feature maps by name, or a `Backbone`, which gives a list of them; `head`
    makes maps of the last one. `frozen_norm`, for batches of few photos, keeps every batch norm at its stored
    statistics while training, and those of the backbone as they were loaded, scale and shift too; without it a
    `Backbone` does with its norms as it was made.
    """

    def __init__(self, *, backbone: nn.Module, head: nn.Module, frozen_norm: bool, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.frozen_norm = frozen_norm
        for norm in batch_norms(backbone).values() if frozen_norm else ():
            norm.requires_grad_(False)
        self.normalize = Normalization(mean=mean, std=std)

    def train(self, mode: bool = True) -> "DeepLab":
        super().train(mode)
        if self.frozen_norm:
            for norm in batch_norms(self).values():
                norm.eval()
        return self

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> DeepLabOutput:
        features = self.backbone(images)
        *_, last = features.values() if isinstance(features, Mapping) else features
        maps: Tensor = self.head(last)
        return DeepLabOutput(maps)


def load_resnet_weights(model: DeepLab, *, name: str, source: str) -> None:
    """Start torchvision's ResNet from published weights, in place.

    `source` is `imagenet` (torchvision downloads them), `file:PATH` or `none`. A file is a state dict with
    torchvision's names (timm's are the same); a classification layer in it is left out. Raises `UserError` where it
    does not fit.
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
        raise UserError(f"{setting}: torchvision cannot get the weights of {name}: {one_line(error)}") from error
    return state
