import numpy as np
import pytest
import torch
from PIL import Image

from eps.engine.predictor import Predictor
from eps.models.spec import SegmenterSpec, TrunkSpec, build_segmenter
from eps.report_page.combination import PLANES, combine
from eps.report_page.pictures import paint_instances, show

SPEC = SegmenterSpec(
    trunk=TrunkSpec(
        backbone="test_efficientnet",
        frozen_norm=False,
        fpn_channels=16,
        head_channels=16,
        head_depth=1,
        prototypes=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    classes=("cat", "dog"),
    image_size=(64, 64),
    scales=((8.0,), (16.0,), (24.0,), (40.0,), (56.0,)),
    ratios=(1.0, 0.5, 2.0),
)
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(model=build_segmenter(SPEC), spec=SPEC, device=torch.device("cpu"))


def test_the_steps_end_in_the_mask_that_the_predictor_gives(predictor: Predictor) -> None:
    combination = combine(predictor, PHOTO)
    instances = predictor.predict(PHOTO)
    best = [values[:1].numpy() for values in (instances.masks, instances.classes, instances.boxes)]
    assert combination is not None
    assert combination.steps[-1].uri == show(paint_instances(PHOTO, *best), alt="", caption="").uri
    name = SPEC.classes[int(instances.classes[0])]
    assert combination.instance == f"{name}, score {float(instances.scores[0]):.2f}"


def test_a_handful_of_the_planes_is_shown_and_named(predictor: Predictor) -> None:
    combination = combine(predictor, PHOTO)
    assert combination is not None
    assert combination.total == 8
    assert len(combination.planes) == PLANES
    assert len({picture.caption for picture in combination.planes}) == PLANES
    assert [step.caption for step in combination.steps[:2]] == ["sum of these 6", "sum of all 8"]


def test_without_an_instance_there_is_nothing_to_take_apart() -> None:
    torch.manual_seed(0)
    strict = Predictor(model=build_segmenter(SPEC), spec=SPEC, device=torch.device("cpu"), score_threshold=1.0)
    assert combine(strict, PHOTO) is None
