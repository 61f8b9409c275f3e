"""From stored maps to labels as a config asks for it, CRF sets by name."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eps.cli import compose
from eps.mask_labels import batches, labelled, needs_threshold, refined_labels
from eps.ops.crf import dense_crf
from eps.ops.pseudo_labels import constant_background
from eps.schema.pseudo_masks import PseudoMasksConfig

GOLDEN = Path(__file__).parent / "golden"
PHOTO = np.full((12, 16, 3), 30, dtype=np.uint8)
PHOTO[:, 4:12] = 220


def node(*overrides: str) -> PseudoMasksConfig:
    return compose(*overrides).pseudo_masks


def refined(cfg: PseudoMasksConfig, photo: np.ndarray, scores: torch.Tensor, threshold: float | None) -> torch.Tensor:
    (labels,) = refined_labels(cfg, [photo], [scores], threshold=threshold)
    return labels


def maps(classes: int = 3) -> torch.Tensor:
    scores = torch.zeros(classes, 12, 16)
    scores[1, :, 4:9] = 0.9
    scores[1, :, 9:12] = 0.4
    return scores


@pytest.mark.parametrize("backend", ["pydensecrf", "torch"])
@pytest.mark.parametrize("alpha", [4, 16])
def test_recorded_vectors_by_name(alpha: int, backend: str) -> None:
    """`pseudo_masks=crf_alpha4` and `crf_alpha16` label as the released system's CRF with that alpha."""
    with np.load(GOLDEN / f"crf_alpha_{alpha}.npz") as record:
        scores = torch.zeros(20, *record["cams"].shape[1:])
        scores[record["classes"]] = torch.from_numpy(record["cams"])
        iterations = f"pseudo_masks.crf_parameters.iterations={int(record['iterations'])}"
        cfg = node(f"pseudo_masks=crf_alpha{alpha}", iterations, f"pseudo_masks.crf={backend}")
        labels = refined(cfg, record["image"], scores, None)
        expected = record["keys"][record["scores"].argmax(axis=0)]
        assert (labels.numpy() == expected).mean() >= 0.999
        assert len(np.unique(expected)) > 1


def test_parameter_sets() -> None:
    kernels = {"gaussian_sxy": 3, "gaussian_compat": 3, "bilateral_sxy": 80, "bilateral_srgb": 13}
    psa = {"iterations": 10, **kernels, "bilateral_compat": 10}
    for choice, background in (("crf", "constant"), ("crf_alpha4", "alpha"), ("crf_alpha16", "alpha")):
        cfg = node(f"pseudo_masks={choice}")
        assert (cfg.crf, cfg.crf_background, asdict(cfg.crf_parameters)) == ("pydensecrf", background, psa)
    deeplab = asdict(node("pseudo_masks=crf_deeplab").crf_parameters)
    assert list(deeplab.values()) == [10, 1, 3, 67, 3, 4]
    assert deeplab == asdict(compose("predict=crf").predict.crf_parameters)
    assert [node(f"pseudo_masks=crf_alpha{alpha}").crf_alpha for alpha in (4, 16)] == [4, 16]


def test_a_larger_alpha_leaves_less_to_the_background() -> None:
    """The best score is 0.3: with alpha 1 the background has 0.7, with 32 almost nothing."""
    faint = maps() / 3
    small, large = (
        refined(node("pseudo_masks=crf_alpha4", f"pseudo_masks.crf_alpha={a}"), PHOTO, faint, None) for a in (1, 32)
    )
    assert not small.any()
    assert set(large.flatten().tolist()) == {0, 2}


def test_constant_background_and_kernels_reach_the_crf() -> None:
    cfg = node("pseudo_masks=crf_deeplab")
    marginals = dense_crf(
        PHOTO,
        constant_background(maps()[1:2], threshold=0.3),
        iterations=10,
        gaussian_sxy=1.0,
        gaussian_compat=3.0,
        bilateral_sxy=67.0,
        bilateral_srgb=3.0,
        bilateral_compat=4.0,
    )
    expected = torch.where(marginals.argmax(dim=0) > 0, 2, 0)
    assert torch.equal(refined(cfg, PHOTO, maps(), 0.3).long(), expected)
    assert expected.any()
    assert not expected.all()


def test_absent_classes_are_left_out_and_order_is_free() -> None:
    cfg = node("pseudo_masks=crf_alpha4")
    labels = refined(cfg, PHOTO, maps(3), None)
    assert set(labels.flatten().tolist()) <= {0, 2}
    assert torch.equal(refined(cfg, PHOTO, maps(9), None), labels)


def test_torch_by_name() -> None:
    torch_choice, other = node("pseudo_masks=crf_torch"), node("pseudo_masks=crf")
    assert (torch_choice.crf, torch_choice.crf_parameters) == ("torch", other.crf_parameters)
    predict, other_predict = compose("predict=crf_torch").predict, compose("predict=crf").predict
    assert (predict.crf, predict.crf_parameters) == ("torch", other_predict.crf_parameters)


def test_only_a_crf_with_alpha_needs_no_threshold() -> None:
    assert [needs_threshold(node(f"pseudo_masks={name}")) for name in ("default", "crf", "crf_torch")] == [True] * 3
    assert not needs_threshold(node("pseudo_masks=crf_alpha4", "pseudo_masks.crf=torch"))
    assert needs_threshold(node("pseudo_masks=crf_alpha4", "pseudo_masks.crf=none"))


def mapped(*photos: np.ndarray) -> list[tuple[Callable[[], Image.Image], torch.Tensor]]:
    """Each photo's left half is of one class, the more to the right of the list, the higher its index."""
    made: list[tuple[Callable[[], Image.Image], torch.Tensor]] = []
    for number, photo in enumerate(photos):
        scores = torch.zeros(len(photos), *photo.shape[:2])
        scores[number, :, : photo.shape[1] // 2] = 0.8
        made.append((partial(Image.fromarray, photo), scores))
    return made


def test_photos_are_batched_by_their_pixels() -> None:
    photos = mapped(PHOTO, PHOTO, np.tile(PHOTO, (3, 1, 1)), PHOTO, PHOTO, PHOTO)
    size = PHOTO.shape[0] * PHOTO.shape[1]
    found = list(batches(iter(photos), pixels=2 * size))
    assert [len(batch) for batch in found] == [2, 1, 2, 1]
    assert [entry for batch in found for entry in batch] == photos
    assert [len(batch) for batch in batches(photos, pixels=0)] == [1] * 6
    assert list(batches([], pixels=size)) == []


@pytest.mark.parametrize("crf", ["none", "pydensecrf", "torch"])
def test_photos_together_are_labelled_as_alone(crf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them has no tag, and its file is not opened."""
    cfg = node("pseudo_masks=crf_deeplab", f"pseudo_masks.crf={crf}")
    photos = mapped(PHOTO, PHOTO[:9, :11], np.flip(PHOTO, axis=0).copy())
    photos.insert(1, (pytest.fail, torch.zeros(3, 5, 7)))
    alone = [next(labelled(cfg, [photo], threshold=0.3, device=torch.device("cpu"))) for photo in photos]
    monkeypatch.setattr("eps.mask_labels.batches", lambda entries, pixels: [list(entries)])
    together = list(labelled(cfg, photos, threshold=0.3, device=torch.device("cpu")))
    assert [tuple(labels.shape) for labels in together] == [(12, 16), (5, 7), (9, 11), (12, 16)]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)
    assert [labels.max().item() for labels in together] == [1, 0, 2, 3]
