"""From stored maps to labels as a config asks for it, CRF sets by name."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from eps.cli import compose
from eps.ops.crf import dense_crf
from eps.ops.pseudo_labels import constant_background
from eps.pseudo_masks import refined_labels
from eps.schema import PseudoMasksConfig

GOLDEN = Path(__file__).parent / "golden"
PHOTO = np.full((12, 16, 3), 30, dtype=np.uint8)
PHOTO[:, 4:12] = 220


def node(*overrides: str) -> PseudoMasksConfig:
    return compose(*overrides).pseudo_masks


def maps(classes: int = 3) -> torch.Tensor:
    scores = torch.zeros(classes, 12, 16)
    scores[1, :, 4:9] = 0.9
    scores[1, :, 9:12] = 0.4
    return scores


@pytest.mark.parametrize("alpha", [4, 16])
def test_recorded_vectors_by_name(alpha: int) -> None:
    """`pseudo_masks=crf_alpha4` and `crf_alpha16` label as the released system's CRF with that alpha."""
    with np.load(GOLDEN / f"crf_alpha_{alpha}.npz") as record:
        scores = torch.zeros(20, *record["cams"].shape[1:])
        scores[record["classes"]] = torch.from_numpy(record["cams"])
        cfg = node(
            f"pseudo_masks=crf_alpha{alpha}", f"pseudo_masks.crf_parameters.iterations={int(record['iterations'])}"
        )
        labels = refined_labels(cfg, record["image"], scores, threshold=None)
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
        refined_labels(node("pseudo_masks=crf_alpha4", f"pseudo_masks.crf_alpha={a}"), PHOTO, faint, threshold=None)
        for a in (1, 32)
    )
    assert not small.any()
    assert set(large.unique().tolist()) == {0, 2}


def test_constant_background_and_kernels_reach_the_crf() -> None:
    cfg = node("pseudo_masks=crf_deeplab")
    refined = dense_crf(
        PHOTO,
        constant_background(maps()[1:2], threshold=0.3),
        iterations=10,
        gaussian_sxy=1.0,
        gaussian_compat=3.0,
        bilateral_sxy=67.0,
        bilateral_srgb=3.0,
        bilateral_compat=4.0,
    )
    expected = torch.where(refined.argmax(dim=0) > 0, 2, 0)
    assert torch.equal(refined_labels(cfg, PHOTO, maps(), threshold=0.3).long(), expected)
    assert expected.any()
    assert not expected.all()


def test_absent_classes_are_left_out_and_order_is_free() -> None:
    cfg = node("pseudo_masks=crf_alpha4")
    labels = refined_labels(cfg, PHOTO, maps(3), threshold=None)
    assert set(labels.unique().tolist()) <= {0, 2}
    assert torch.equal(refined_labels(cfg, PHOTO, maps(9), threshold=None), labels)
