"""Stage 1: `classifier`."""

from dataclasses import dataclass
from enum import StrEnum

from eps.schema.training import AugmentConfig, OptimConfig


class ClassifierKind(StrEnum):
    eps = "eps"
    """C + 1 maps under joint supervision of tags and saliency."""
    cam = "cam"
    """C maps from tags alone: the baseline."""


class Pooling(StrEnum):
    average = "average"
    """Image logits are the mean of the maps (the paper's)."""
    salient = "salient"
    """The mean weighted by saliency + `pooling_floor`: context cannot serve as evidence."""


class SaliencyLoss(StrEnum):
    square = "square"
    """Mean squared error with map selection by tau and lam (the paper's)."""
    likelihood = "likelihood"
    """Log likelihood of the saliency map: does not saturate, holds absent classes down."""


class SaliencyAt(StrEnum):
    photo = "photo"
    """Maps are enlarged to the saliency map's size: finest edges."""
    maps = "maps"
    """The saliency map is averaged to the maps' size: a third faster, edges at their stride."""


@dataclass(kw_only=True, slots=True)
class ClassifierConfig:
    kind: ClassifierKind
    """What the classifier learns from."""
    pooling: Pooling
    """How maps become the logits of tags."""
    pooling_floor: float
    """Of `pooling=salient`: the weight where the photo is not salient at all."""
    tag_weight: float
    """Weight of the tag loss beside the saliency loss."""
    saliency_loss: SaliencyLoss
    """How maps are held to the saliency map."""
    saliency_at: SaliencyAt
    """At which size maps and saliency are compared."""
    distrust_from: float
    """Share of the run after which a photo's saliency map counts only as far as the photo's maps agree with it, and the
    maps themselves for the rest; 1: never. For datasets of which some maps may be bad."""
    tau: float
    """Overlap with saliency above which a present class counts as foreground (EPS)."""
    lam: float
    """Weight of the foreground in the saliency estimate (EPS)."""
    select_all: float
    """Share of the run in which every present class counts as foreground."""
    dropout: float
    """Rate at which whole prototypes drop out before they are combined."""
    initial_scale: float
    """Size of the initial class coefficients, as a multiple of 1 / sqrt(prototypes)."""
    steps: int
    """Of training."""
    batch: int
    """Photos a step, of all processes together."""
    optim: OptimConfig
    augment: AugmentConfig
