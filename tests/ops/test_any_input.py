"""Ops on whatever shapes and values may come, nothing and extremes included: laws that always hold, no exception."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from eps.ops.boxes import center_to_corner, corner_to_center, coverage, decode, encode
from eps.ops.instances import split_instances
from eps.ops.matching import match
from eps.ops.nms import cross_class_fast_nms, fast_nms
from eps.ops.pseudo_labels import label_map
from eps.ops.rle import decode_rle, encode_rle

FUZZ = settings(max_examples=50, deadline=None, derandomize=True)
UNIT = st.floats(0, 1, width=32)
SIDES = st.integers(1, 9)


@st.composite
def boxes(draw: st.DrawFn, *, largest: int = 6) -> Tensor:
    """Corner form; some are points or lines."""
    count = draw(st.integers(0, largest))
    corners = draw(arrays(np.float32, (count, 4), elements=st.floats(-2, 2, width=32)))
    return torch.from_numpy(
        np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], axis=1)
    )


@FUZZ
@given(boxes(), st.data())
def test_boxes(corners: Tensor, data: st.DataObject) -> None:
    torch.testing.assert_close(center_to_corner(corner_to_center(corners)), corners)
    anchors = torch.rand((len(corners), 4)) + 0.1
    targets = encode(corners, anchors)
    assert torch.isfinite(targets).all()
    torch.testing.assert_close(decode(targets, anchors), corners, atol=1e-4, rtol=1e-3)
    solid = corners + torch.tensor([0.0, 0.0, 0.1, 0.1])
    covered = coverage(solid, data.draw(boxes()))
    assert ((covered >= 0) & (covered <= 1 + 1e-4)).all()


@FUZZ
@given(boxes(largest=4), st.integers(1, 12), st.integers(0, 2))
def test_every_truth_is_matched_or_all_anchors_are_taken(truth: Tensor, count: int, crowds: int) -> None:
    anchors = torch.rand((count, 4)) * 0.5 + 0.1
    solid = truth.clamp(0, 1) + torch.tensor([0.0, 0.0, 0.1, 0.1])
    found = match(solid, torch.arange(len(truth)), anchors, crowds=torch.rand(crowds, 4).sort().values)
    assert len(found.classes) == len(found.index) == count
    assert ((found.classes >= -1) & (found.classes <= len(truth))).all()
    owned = found.index[found.classes > 0].unique()
    assert len(owned) == min(len(truth), count) if crowds == 0 and count >= len(truth) else len(owned) <= count


@FUZZ
@given(boxes(), st.integers(1, 3), st.data())
def test_detections_are_some_of_what_came_best_first(corners: Tensor, classes: int, data: st.DataObject) -> None:
    scores = torch.from_numpy(data.draw(arrays(np.float32, (classes, len(corners)), elements=UNIT)))
    coefficients = torch.rand(len(corners), 2)
    for suppress in (fast_nms, cross_class_fast_nms):
        found = suppress(corners, scores, coefficients, score_threshold=0.2)
        assert all(scores[:, (corners == box).all(dim=1)].max() > 0.2 for box in found.boxes)
        assert (found.scores.diff() <= 0).all()
        assert all((box == corners).all(dim=1).any() for box in found.boxes)
        assert len(found.boxes) == len(found.scores) == len(found.classes) == len(found.coefficients)


@FUZZ
@given(SIDES, SIDES, st.data())
def test_labels_have_classes_of_their_instances(height: int, width: int, data: st.DataObject) -> None:
    labels = data.draw(arrays(np.uint8, (height, width), elements=st.sampled_from([0, 1, 2, 254, 255])))
    found = split_instances(labels, min_area=1, fill_holes=False)
    assert sum(int(one.mask.sum()) for one in found) == ((labels > 0) & (labels < 255)).sum()
    for one in found:
        assert (labels[one.mask] == one.class_index + 1).all()
        np.testing.assert_array_equal(decode_rle(encode_rle(one.mask)), one.mask)


@FUZZ
@given(st.integers(1, 4), SIDES, SIDES, st.floats(0.01, 0.99), UNIT, st.data())
def test_label_maps_hold_labels(
    classes: int, height: int, width: int, threshold: float, band: float, data: st.DataObject
) -> None:
    scores = torch.from_numpy(data.draw(arrays(np.float32, (classes, height, width), elements=UNIT)))
    plain, banded = (label_map(scores, threshold=threshold, ignore_band=b) for b in (0.0, band))
    assert set(plain.unique().tolist()) <= set(range(classes + 1))
    assert ((banded == plain) | (banded == 255)).all()
    assert not label_map(scores * 0, threshold=threshold, ignore_band=band).any()
