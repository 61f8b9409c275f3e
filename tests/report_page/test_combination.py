from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from eps.engine.predictor import Predictor
from eps.models.spec import SegmenterSpec, build_segmenter
from eps.report_page.combination import PLANES, combine
from eps.report_page.pictures import paint_instances, show

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def spec(segmenter_spec: SegmenterSpec) -> SegmenterSpec:
    """With more planes than are shown."""
    return replace(segmenter_spec, trunk=replace(segmenter_spec.trunk, prototypes=8))


@pytest.fixture(scope="module")
def predictor(spec: SegmenterSpec) -> Predictor:
    torch.manual_seed(0)
    return Predictor(model=build_segmenter(spec), spec=spec, device=torch.device("cpu"))


def test_the_steps_end_in_the_mask_that_the_predictor_gives(predictor: Predictor, spec: SegmenterSpec) -> None:
    combination = combine(predictor, PHOTO)
    instances = predictor.predict(PHOTO)
    best = [values[:1].numpy() for values in (instances.masks, instances.classes, instances.boxes)]
    assert combination is not None
    assert combination.steps[-1].uri == show(paint_instances(PHOTO, *best), alt="", caption="").uri
    name = spec.classes[int(instances.classes[0])]
    assert combination.instance == f"{name}, score {float(instances.scores[0]):.2f}"


def test_a_handful_of_the_planes_is_shown_and_named(predictor: Predictor) -> None:
    combination = combine(predictor, PHOTO)
    assert combination is not None
    assert combination.total == 8
    assert len(combination.planes) == PLANES
    assert len({picture.caption for picture in combination.planes}) == PLANES
    assert [step.caption for step in combination.steps[:2]] == ["sum of these 6", "sum of all 8"]


def test_without_an_instance_there_is_nothing_to_take_apart(spec: SegmenterSpec) -> None:
    torch.manual_seed(0)
    strict = Predictor(model=build_segmenter(spec), spec=spec, device=torch.device("cpu"), score_threshold=1.0)
    assert combine(strict, PHOTO) is None
