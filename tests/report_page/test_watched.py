import numpy as np
import pytest
import torch
from PIL import Image

from eps import build
from eps.cli import compose
from eps.engine.predictor import Predictor
from eps.report_page.watched import SIDE, localization_picture, prediction_picture

CLASSES = ("cat", "dog")


@pytest.fixture
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))


def test_maps_stand_beside_the_photo_and_draw_nothing_at_random(photo: Image.Image) -> None:
    torch.manual_seed(0)
    model, _ = build.classifier(compose("experiment=tiny"), CLASSES)
    before = torch.get_rng_state()
    picture = localization_picture(model.eval(), "photo 1", photo, CLASSES)
    assert torch.equal(torch.get_rng_state(), before)
    assert picture.width > 3 * photo.width
    assert np.array_equal(np.asarray(picture)[46:106, 12:92], np.asarray(photo))  # below the heading


def test_predictions_stand_beside_the_photo(photo: Image.Image) -> None:
    torch.manual_seed(0)
    model, spec = build.segmenter(compose("experiment=tiny"), CLASSES)
    picture = prediction_picture(Predictor(model=model, spec=spec, device=torch.device("cpu")), "photo 1", photo)
    assert picture.width > 3 * photo.width
    assert np.array_equal(np.asarray(picture)[46:106, 12:92], np.asarray(photo))


def test_a_large_photo_is_looked_at_in_a_size_at_which_names_can_be_read() -> None:
    torch.manual_seed(0)
    model, _ = build.classifier(compose("experiment=tiny"), CLASSES)
    picture = localization_picture(model.eval(), "large", Image.new("RGB", (900, 300)), CLASSES)
    assert picture.width < 4 * (SIDE + 20)
