"""How well scores tell which classes a photo shows: average precision over photos."""

import numpy as np
from jaxtyping import Bool, Float


def average_precision(scores: Float[np.ndarray, " n"], shown: Bool[np.ndarray, " n"]) -> float:
    """The mean, over the photos that show a class, of the precision among the photos that score at least as much.

    In 0..1; nan where no photo shows it. Photos of one score are taken together, so that their order does not matter.
    Source: information retrieval (Manning et al., 2008, section 8.4).
    """
    if not shown.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(shown[order])
    last = np.searchsorted(-ranked, -ranked, side="right")  # photos that score at least as much as each
    return float((hits[last - 1] / last)[shown[order]].mean())
