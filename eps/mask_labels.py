"""From localization maps to labels as `pseudo_masks` is set: a threshold alone, or a CRF over one photo or several."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from PIL import Image
from torch import Tensor

from eps.ops.crf import dense_crfs
from eps.ops.mean_field import CRFParameters
from eps.ops.pseudo_labels import alpha_background, constant_background, label_map, most_probable
from eps.schema.crf import CRFBackend
from eps.schema.pseudo_masks import CRFBackground, PseudoMasksConfig

Mapped = tuple[Callable[[], Image.Image], Tensor]
"""A photo, opened where it is needed, and its localization maps, zero for absent classes."""

PIXELS_AT_ONCE = 2**21
"""A GPU refines so many pixels of photos at once, or one photo: some 650 bytes each with three labels."""


def needs_threshold(cfg: PseudoMasksConfig) -> bool:
    """Whether a background score is used: a CRF with alpha does without."""
    return cfg.crf is CRFBackend.none or cfg.crf_background is CRFBackground.constant


def labelled(
    cfg: PseudoMasksConfig, mapped: Iterable[Mapped], *, threshold: float | None, device: torch.device
) -> Iterator[UInt8[Tensor, "_H _W"]]:
    """Labels (class + 1, 0, 255) of every photo, in order; a CRF in torch runs on `device` where that is a GPU."""
    on_gpu = cfg.crf is CRFBackend.torch and device.type == "cuda"
    for batch in batches(mapped, pixels=PIXELS_AT_ONCE if on_gpu else 0):
        found = [torch.zeros(scores.shape[1:], dtype=torch.uint8) for _, scores in batch]
        tagged = [number for number, (_, scores) in enumerate(batch) if scores.any()]  # others are background
        if cfg.crf is CRFBackend.none:
            assert threshold is not None
            for number in tagged:
                found[number] = label_map(batch[number][1], threshold=threshold, ignore_band=cfg.ignore_band)
        elif tagged:
            photos = [np.asarray(batch[number][0]()) for number in tagged]
            scores = [batch[number][1].to(device if on_gpu else "cpu") for number in tagged]
            for number, labels in zip(tagged, refined_labels(cfg, photos, scores, threshold=threshold), strict=True):
                found[number] = labels.cpu()
        yield from found


def batches(mapped: Iterable[Mapped], *, pixels: int) -> Iterator[list[Mapped]]:
    """The same photos in order, together as long as they have at most so many pixels."""
    batch: list[Mapped] = []
    for photo, scores in mapped:
        if batch and sum(some[0].numel() for _, some in batch) + scores[0].numel() > pixels:
            yield batch
            batch = []
        batch.append((photo, scores))
    if batch:
        yield batch


def refined_labels(
    cfg: PseudoMasksConfig,
    photos: Sequence[UInt8[np.ndarray, "_H _W 3"]],
    scores: Sequence[Float[Tensor, "c _H _W"]],
    *,
    threshold: float | None,
) -> list[UInt8[Tensor, "_H _W"]]:
    """Labels (class + 1, 0, 255) after the CRF that the config chooses; one with alpha needs no threshold.

    `scores` are zero for absent classes, which the CRF leaves out; one class or more must be there.
    """
    present = [planes.flatten(1).any(dim=1).nonzero()[:, 0] for planes in scores]
    planes = [_with_background(cfg, some, classes, threshold) for some, classes in zip(scores, present, strict=True)]
    parameters = CRFParameters(**asdict(cfg.crf_parameters))
    refined = dense_crfs(photos, planes, parameters, backend=cfg.crf.value)
    return [
        most_probable(marginals, classes=classes, ignore_band=cfg.ignore_band)
        for marginals, classes in zip(refined, present, strict=True)
    ]


def _with_background(
    cfg: PseudoMasksConfig,
    scores: Float[Tensor, "c H W"],
    present: Integer[Tensor, " p"],
    threshold: float | None,
) -> Float[Tensor, "p1 H W"]:
    if cfg.crf_background is CRFBackground.alpha:
        return alpha_background(scores[present], alpha=cfg.crf_alpha)
    assert threshold is not None
    return constant_background(scores[present], threshold=threshold)
