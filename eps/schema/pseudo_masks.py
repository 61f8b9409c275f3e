"""Stage 2: `pseudo_masks`."""

from dataclasses import dataclass
from enum import StrEnum

from eps.schema.crf import CRFBackend, CRFConfig


class CRFBackground(StrEnum):
    """What stands for the background beside the classes' scores when a CRF refines them."""

    constant = "constant"
    """The threshold, all scores of a pixel made to sum to 1."""
    alpha = "alpha"
    """(1 - best score) ^ alpha, without a threshold, scores as they are (PSA; Ahn and Kwak, CVPR 2018)."""


class SaliencyUse(StrEnum):
    """Whether localization maps are joined with the photo's saliency map once more before they are thresholded."""

    none = "none"
    """Maps alone, as in the paper: saliency is for training."""
    trusted = "trusted"
    """Maps say which class, the saliency map where its borders are, as far as it covers what the maps are surest of."""


@dataclass(kw_only=True, slots=True)
class PseudoMasksConfig:
    scales: list[float]
    """Sizes of the photo that its maps are summed over, as multiples of its own."""
    flip: bool
    """Also sum over the mirror images."""
    saliency: SaliencyUse
    """How maps and the photo's saliency map are joined (needs a classifier of kind eps). With `trusted`, agreement with
    saliency is agreement with what was put in: the score compares runs of like `saliency` alone, and threshold=auto
    comes out high, near 0.5; a number such as 0.25 is better."""
    logit_adjustment: float
    """Where tagged classes share a pixel, each one's share is divided by this power of the share of photos that carry
    its tag, so that frequent classes do not swallow rare ones; 0: as the classifier has it (needs kind eps)."""
    threshold: float | str
    """Background score in 0..1, or `auto`: the one that agrees best with saliency. Unused by a CRF with alpha."""
    ignore_band: float
    """Scores this near to the threshold, or to the next class, become 255."""
    crf: CRFBackend
    """Refines the scores before they become labels."""
    crf_background: CRFBackground
    """What stands for the background in the CRF."""
    crf_alpha: float
    """Of `crf_background=alpha`: a larger one leaves less to the background."""
    crf_parameters: CRFConfig
    min_area: int
    """Smallest instance in pixels."""
    save_scores: bool
    """Keep the maps in `scores/`: evaluate=thresholds reads them."""
