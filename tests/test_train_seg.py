"""What `eps.train_seg` says of configs that were put together by hand."""

from dataclasses import replace

import pytest

from eps.checkpoints.yolact_specs import SPECS
from eps.train_seg import _oddities


@pytest.mark.parametrize("name", SPECS)
def test_released_recipes_are_not_odd(name: str) -> None:
    assert list(_oddities(SPECS[name])) == []


def test_scales_of_another_size_are_told() -> None:
    [line] = _oddities(replace(SPECS["yolact_base"], image_size=(400, 400)))
    assert "segmenter.scales are yolact_base's for 550 px, segmenter.image_size is 400 x 400" in line
    assert line.endswith("segmenter.scales=[[17.5],[34.9],[69.8],[139.6],[279.3]]")
    own = replace(SPECS["yolact_base"], image_size=(400, 400), scales=((20.0,), (40.0,), (80.0,), (160.0,), (320.0,)))
    assert list(_oddities(own)) == []


def test_masks_rated_without_deformable_convolutions_are_told() -> None:
    [line] = _oddities(replace(SPECS["yolact_plus_base"], trunk=SPECS["yolact_resnet50"].trunk))
    assert "trunk.deformable_every=0" in line
    assert "trunk=yolact_plus_resnet50" in line
