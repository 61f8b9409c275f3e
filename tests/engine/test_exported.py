import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from eps.engine.exported import ExportedSegmenter, describe, largest_difference, noise
from eps.models.segmenter import Segmenter
from eps.models.spec import SegmenterSpec, build_segmenter


@pytest.fixture(scope="module")
def segmenter(segmenter_spec: SegmenterSpec) -> Segmenter:
    torch.manual_seed(0)
    return build_segmenter(segmenter_spec)


@torch.inference_mode()
def test_outputs_are_the_networks(segmenter: Segmenter, segmenter_spec: SegmenterSpec) -> None:
    images = noise(2, size=segmenter_spec.image_size)
    exported = ExportedSegmenter(segmenter, squeezed=False, semantic=True)
    assert exported.outputs == ["loc", "conf", "mask", "proto", "semantic"]
    raw = segmenter(images)
    loc, conf, mask, proto, semantic = (output.numpy() for output in exported(images))
    np.testing.assert_array_equal(loc, raw.offsets)
    np.testing.assert_array_equal(mask, raw.coefficients)
    powers = np.exp(raw.logits.double().numpy())
    np.testing.assert_allclose(conf, powers / powers.sum(axis=2, keepdims=True), atol=1e-6)
    for k in range(5):
        np.testing.assert_array_equal(proto[:, :, :, k], raw.prototypes[:, k])
    for channel, ours in ((0, 2), (1, 0), (2, 1)):  # the background is our last
        np.testing.assert_array_equal(semantic[:, :, :, channel], raw.semantic[:, ours])


@torch.inference_mode()
def test_squeezed_is_the_first_of_the_batch(segmenter: Segmenter, segmenter_spec: SegmenterSpec) -> None:
    image = noise(1, size=segmenter_spec.image_size)
    exported = ExportedSegmenter(segmenter, squeezed=True, semantic=False)
    assert exported.outputs == ["loc", "conf", "mask", "proto"]
    kept = ExportedSegmenter(segmenter, squeezed=False, semantic=False)(image)
    for one, other in zip(exported(image), kept, strict=True):
        assert torch.equal(one, other[0])


def test_noise_repeats() -> None:
    assert noise(2, size=(4, 6)).shape == (2, 3, 4, 6)
    assert torch.equal(noise(2, size=(4, 6)), noise(2, size=(4, 6)))


def test_description_holds_anchors_exactly(segmenter: Segmenter, segmenter_spec: SegmenterSpec) -> None:
    with torch.inference_mode():
        anchors = segmenter(noise(1, size=segmenter_spec.image_size)).anchors
    square = replace(segmenter_spec, square_anchors=True, trunk=replace(segmenter_spec.trunk, deformable_every=3))
    description = describe(square, anchors=anchors, outputs=["loc"], batch="kept")
    read = json.loads(description.to_json())
    assert np.array_equal(np.array(read["anchors"], dtype=np.float32), anchors.numpy())
    assert {name: json.loads(text) for name, text in description.entries().items()} == read
    assert (read["classes"], read["image_size"]) == (["train", "boat"], [64, 96])
    assert (read["mean"], read["std"], read["variances"]) == ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4], [0.1, 0.2])
    assert (read["square_anchors"], read["deformable"], read["batch"]) == (True, True, "kept")
    assert not describe(segmenter_spec, anchors=anchors, outputs=["loc"], batch="kept").deformable


def test_largest_difference_by_hand() -> None:
    expected = torch.tensor([[1.0, -4.0], [2.0, 0.0]])
    assert largest_difference(expected, expected.numpy()) == 0
    assert largest_difference(expected, np.array([[1.0, -4.0], [1.5, 0.25]], dtype=np.float32)) == 0.5 / 4
    assert largest_difference(expected, np.zeros((2, 2), dtype=np.float32)) == 1


@pytest.mark.parametrize(
    "found",
    [np.zeros((4, 1), np.float32), np.array([0, np.nan], np.float32), np.array([0, np.inf], np.float32)],
)
def test_what_cannot_be_compared_is_infinitely_far(found: np.ndarray) -> None:
    assert largest_difference(torch.zeros(2), found) == np.inf
    assert largest_difference(torch.zeros(2), np.full(2, 1e-3, np.float32)) > 1
    assert largest_difference(torch.zeros(2), np.zeros(2, np.float32)) == 0
