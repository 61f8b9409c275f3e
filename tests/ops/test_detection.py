"""Detection in fixed shapes against Fast NMS of one image, whose shapes depend on what is found."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from eps.ops.boxes import decode, encode
from eps.ops.detection import detect, suppress
from eps.ops.nms import Detections, cross_class_fast_nms, fast_nms

GOLDEN = Path(__file__).parents[1] / "golden"


def scene(images: int = 3, count: int = 60, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(images, count, 2, generator=generator) * 0.5
    boxes = torch.cat([low, low + 0.2 + 0.3 * torch.rand(images, count, 2, generator=generator)], dim=2)
    scores = (torch.randn(images, count, classes + 1, generator=generator) * 3).softmax(2)[..., 1:].transpose(1, 2)
    return boxes, scores, torch.randn(images, count, 5, generator=generator)


def plain(boxes: torch.Tensor, scores: torch.Tensor, extra: torch.Tensor, **options: Any) -> list[Detections]:
    most = options.pop("max_detections", 100)
    if options.pop("cross_class", False):
        found = [cross_class_fast_nms(*image, **options) for image in zip(boxes, scores, extra, strict=True)]
        return [Detections(*(part[:most] for part in image)) for image in found]
    return [fast_nms(*image, max_detections=most, **options) for image in zip(boxes, scores, extra, strict=True)]


def check(found: list[Detections], expected: list[Detections]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"top_k": 7},
    {"max_detections": 4},
    {"score_threshold": 0.6},
    {"score_threshold": 0.9999},
    {"iou_threshold": 0.1},
]


@pytest.mark.parametrize("cross_class", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("count", [60, 3])
def test_against_one_image_at_a_time(options: dict[str, Any], cross_class: bool, count: int) -> None:
    raw = scene(count=count)
    found = suppress(*raw, cross_class=cross_class, **options)
    expected = plain(*raw, cross_class=cross_class, **options)
    check(found.split(), expected)
    for index, image in enumerate(expected):
        assert found.valid[index].sum() == len(image.scores)
        assert all(not part[index, len(image.scores) :].any() for part in found)  # filled up with zeros


@pytest.mark.parametrize("cross_class", [False, True])
def test_equal_scores_keep_the_order_of_anchors(cross_class: bool) -> None:
    boxes, scores, extra = scene(count=80)
    raw = (boxes * 0.2 + torch.rand(3, 80, 1, generator=torch.Generator().manual_seed(1)) * 0.8, scores.round(), extra)
    assert len(raw[1].unique()) == 2
    check(suppress(*raw, cross_class=cross_class).split(), plain(*raw, cross_class=cross_class))


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("count", [0, 5])
def test_nothing_to_see(images: int, count: int) -> None:
    boxes, scores, extra = scene(images=images, count=count)
    found = suppress(boxes, scores * 0.05, extra)
    assert not found.valid.any()
    assert [image.boxes.shape for image in found.split()] == [(0, 4)] * images


@pytest.mark.parametrize("cross_class", [False, True])
def test_unwanted_and_low_detections_suppress_all_the_same(cross_class: bool) -> None:
    raw = scene(classes=3)
    wanted = torch.tensor([True, False, True])
    found = suppress(*raw, cross_class=cross_class, least_score=0.3, wanted=wanted, max_detections=6).split()
    everything = plain(*raw, cross_class=cross_class, max_detections=10_000)
    for ours, theirs in zip(found, everything, strict=True):
        kept = (theirs.scores >= 0.3) & wanted[theirs.classes]
        assert 0 < kept.sum() < len(kept)
        assert all(torch.equal(a, b[kept][:6]) for a, b in zip(ours, theirs, strict=True))


def network(images: int = 2, count: int = 50, classes: int = 4) -> tuple[torch.Tensor, ...]:
    """Offsets, logits, coefficients and anchors."""
    generator = torch.Generator().manual_seed(0)
    anchors = torch.rand(count, 4, generator=generator) * 0.5 + 0.2
    offsets = torch.randn(images, count, 4, generator=generator)
    logits = torch.randn(images, count, classes + 1, generator=generator) * 3
    return offsets, logits, torch.randn(images, count, 5, generator=generator), anchors


def test_detect_decodes_and_leaves_the_background_out() -> None:
    offsets, logits, coefficients, anchors = network()
    boxes = torch.stack([decode(image, anchors) for image in offsets])
    probabilities = logits.softmax(dim=2)[..., 1:].transpose(1, 2)
    check(detect(offsets, logits, coefficients, anchors).split(), plain(boxes, probabilities, coefficients))


def test_half_precision_is_decoded_in_float32() -> None:
    offsets, logits, coefficients, anchors = network()
    halves = (offsets.bfloat16(), logits.bfloat16(), coefficients)
    expected = detect(*(part.float() for part in halves), anchors)
    check(detect(*halves, anchors).split(), expected.split())


@pytest.mark.parametrize("cross_class", [False, True])
def test_shapes_and_host_do_not_depend_on_what_is_found(cross_class: bool) -> None:
    """Tensors without values: whatever had to look at one would raise."""
    with FakeTensorMode() as mode:
        raw = [mode.from_tensor(part) for part in network()]
        found = detect(*raw, cross_class=cross_class, wanted=mode.from_tensor(torch.ones(4, dtype=torch.bool)))
        assert found.boxes.shape == (2, 50 if cross_class else 100, 4)
        with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
            fast_nms(raw[3], raw[1][0, :, 1:].T, raw[2][0])


@pytest.mark.parametrize("name", ["detect", "detect_sparse"])
@pytest.mark.parametrize("prefix", ["fast", "cross_class"])
def test_released_detection(name: str, prefix: str) -> None:
    golden = {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / f"{name}.npz").items() if value.shape}
    crossing = prefix == "cross_class"
    raw = (decode(golden["loc"], golden["priors"]), golden["conf"][:, 1:].T, golden["coefficients"])
    most = 200 if crossing else 100
    [found] = suppress(*(part[None] for part in raw), cross_class=crossing, max_detections=most).split()
    torch.testing.assert_close(found.boxes, golden[f"{prefix}_box"], rtol=1e-5, atol=1e-6)
    assert torch.equal(found.classes, golden[f"{prefix}_class"])
    assert torch.equal(found.scores, golden[f"{prefix}_score"])
    assert torch.equal(found.coefficients, golden[f"{prefix}_coefficients"])


COMPILED = """
import torch
from eps.ops.detection import detect
raw = torch.load({path!r})
whole = torch.compile(detect, fullgraph=True, backend="aot_eager")
for cross_class in (False, True):
    ours, plain = whole(*raw, cross_class=cross_class), detect(*raw, cross_class=cross_class)
    assert plain.valid.any()
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
"""


@pytest.mark.slow
def test_one_graph_holds_all_of_it(tmp_path: Path) -> None:
    """In a process without the tests' shape checks, through which torch.compile cannot see."""
    torch.save(network(), tmp_path / "raw.pt")
    code = COMPILED.format(path=str(tmp_path / "raw.pt"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_cuda_graph_records_it() -> None:
    raw = [part.cuda() for part in network()]
    expected = detect(*raw)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = detect(*raw)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_boxes_come_back_from_their_offsets() -> None:
    anchors = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.7, 0.6, 0.4, 0.4]])
    truth = torch.tensor([[0.2, 0.15, 0.5, 0.4], [0.55, 0.4, 0.9, 0.8]])
    logits = torch.tensor([[[0.0, 5.0], [0.0, 4.0]]])
    found = detect(encode(truth, anchors)[None], logits, torch.zeros(1, 2, 3), anchors)
    torch.testing.assert_close(found.boxes[0, found.valid[0]], truth)
