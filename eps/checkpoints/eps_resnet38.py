"""EPS's released classifiers on WideResNet-38, as our classifier with an identity head."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from eps.errors import UserError
from eps.losses.classification import pooled_logits
from eps.models.classifier import Classifier
from eps.models.spec import ClassifierSpec, TrunkSpec, build_classifier
from eps.nn.backbone import RESNET38
from eps.nn.normalization import IMAGENET_MEAN, IMAGENET_STD
from eps.nn.weights import fitted

LAST_LAYER = "fc8.weight"
TRUNK = TrunkSpec(
    backbone=RESNET38,
    frozen_norm=True,
    frozen_stages=2,
    output_stride=8,
    head="identity",
    fpn_channels=0,
    head_channels=0,
    head_depth=0,
    prototypes=4096,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)


class _Kind(NamedTuple):
    background: bool
    dropout: float


KINDS = {
    "eps_resnet38": _Kind(background=True, dropout=0.0),
    "cls_resnet38": _Kind(background=False, dropout=0.5),
}


class ReleasedOutput(NamedTuple):
    """In the reference's order."""

    logits: Float[Tensor, "b m"]
    maps: Float[Tensor, "b m h w"]
    """EPS: logits of C + 1 maps, background last; CAM: C maps after ReLU."""


class ReleasedClassifier(nn.Module):
    """Our classifier with the outputs of EPS's: image logits are the means of the maps, before any ReLU."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.normalize, self.localization = classifier.normalize, classifier.localization  # as inference needs it

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> ReleasedOutput:
        maps = self.classifier(images).maps
        return ReleasedOutput(pooled_logits(maps), maps if self.classifier.background else maps.relu())


def load_eps(name: str, state: Mapping[str, Tensor], *, source: str) -> ReleasedClassifier:
    """`eps_resnet38` or `cls_resnet38` with any number of classes. Raises `UserError` where the weights do not fit."""
    names = [str(number) for number in range(_rows(state, source) - KINDS[name].background)]
    return ReleasedClassifier(_filled(name, state, classes=names, source=source)).eval()


def load_eps_classifier(state: Mapping[str, Tensor], *, classes: Sequence[str], source: str) -> Classifier:
    """The released classifier for a dataset's classes: `eps_resnet38` where it has a map more than they are.

    Raises `UserError` for any other count, and where the weights do not fit.
    """
    rows, count = _rows(state, source), len(classes)
    if rows not in (count, count + 1):
        raise UserError(
            f"{source} has {rows} maps; the dataset's {count} classes take {count} (CAM) or {count + 1} (EPS)"
        )
    return _filled("eps_resnet38" if rows > count else "cls_resnet38", state, classes=classes, source=source)


def _rows(state: Mapping[str, Tensor], source: str) -> int:
    if LAST_LAYER not in state or state[LAST_LAYER].ndim != 4 or len(state[LAST_LAYER]) < 2:
        raise UserError(f"{source} is not EPS's WideResNet-38: missing or misshapen {LAST_LAYER} (maps x 4096 x 1 x 1)")
    return len(state[LAST_LAYER])


def _filled(name: str, state: Mapping[str, Tensor], *, classes: Sequence[str], source: str) -> Classifier:
    kind = KINDS[name]
    spec = ClassifierSpec(trunk=TRUNK, classes=tuple(classes), background=kind.background, dropout=kind.dropout)
    model = build_classifier(spec)
    body = model.trunk.backbone.body
    wanted = {**body.state_dict(), LAST_LAYER: model.coefficients.detach()[:, :, None, None]}
    weights = fitted(state, wanted, source=source, exactly=True)
    model.coefficients.data.copy_(weights.pop(LAST_LAYER)[:, :, 0, 0])
    body.load_state_dict(weights)
    return model.eval()
