"""What the door refuses, and that it watches every number."""

import re
from copy import deepcopy
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import get_type_hints

import pytest

from eps.cli import compose
from eps.errors import UserError
from eps.schema import Config, DataKind
from eps.validation import RULES, validate


@pytest.fixture(scope="module")
def sensible() -> Config:
    return compose()


def changed(cfg: Config, key: str, value: object) -> Config:
    cfg = deepcopy(cfg)
    node, _, name = key.rpartition(".")
    setattr(attrgetter(node)(cfg) if node else cfg, name, value)
    return cfg


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "../elsewhere"),
        ("name", "a,b"),
        ("data.train", ""),
        ("data.train", "tset"),
        ("data.also", ["tset"]),
        ("data.size", 8),
        ("data.sizes", {"train": 400, "val": 0}),
        ("evaluate.splits", []),
        ("evaluate.splits", ["val", "tset"]),
        ("trunk.weights", "package"),
        ("trunk.weights", "file:"),
        ("trunk.mean", [0.5, 0.5]),
        ("trunk.std", [0.5, 0.5, 0.0]),
        ("classifier.steps", 0),
        ("classifier.batch", 0),
        ("classifier.tau", 1.1),
        ("classifier.select_all", -0.1),
        ("classifier.pooling_floor", 0.0),
        ("classifier.tag_weight", -1.0),
        ("classifier.optim.lr", 0.0),
        ("classifier.optim.momentum", 1.0),
        ("classifier.optim.drops", [0.8, 0.5]),
        ("classifier.optim.drops", [0.5, 1.5]),
        ("classifier.augment.scale", [1.5, 0.75]),
        ("classifier.augment.scale", [1.0]),
        ("classifier.augment.scale", [0.0, 1.0]),
        ("classifier.augment.flip", 2.0),
        ("classifier.augment.jitter", [0.3, 0.3, 0.3]),
        ("classifier.augment.jitter", [0.3, 0.3, 0.3, 0.6]),
        ("pseudo_masks.scales", []),
        ("pseudo_masks.scales", [0.5, 0.0]),
        ("pseudo_masks.threshold", 0.0),
        ("pseudo_masks.threshold", 1.0),
        ("pseudo_masks.threshold", "otto"),
        ("pseudo_masks.crf_parameters.iterations", 0),
        ("seed", 2**32),
        ("segmenter.image_size", [128]),
        ("segmenter.image_size", [128, 16]),
        ("segmenter.scales", [[8.0], [16.0]]),
        ("segmenter.scales", [[8.0], [16.0], [24.0, 32.0]]),
        ("segmenter.scales", [[], [], []]),
        ("segmenter.ratios", []),
        ("segmenter.mask_weight", -1.0),
        ("runtime.threads", -1),
    ],
)
def test_nonsense_is_refused_by_name(sensible: Config, key: str, value: object) -> None:
    with pytest.raises(UserError) as refusal:
        validate(changed(sensible, key, value))
    assert str(refusal.value).startswith(key)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pseudo_masks.threshold", 0.2),
        ("pseudo_masks.threshold", "auto"),
        ("trunk.weights", "file:a.pth"),
        ("name", "a/b-1.2"),
        ("classifier.optim.drops", [0.5, 0.75]),
        ("segmenter.scales", [[8.0, 9.0], [16.0, 18.0], [24.0, 32.0]]),
    ],
)
def test_sense_passes(sensible: Config, key: str, value: object) -> None:
    validate(changed(sensible, key, value))


def test_splits_of_other_data_are_not_the_benchmarks(sensible: Config) -> None:
    other = changed(changed(sensible, "data.kind", DataKind.folder), "data.sizes", {})
    validate(changed(changed(other, "data.size", 0), "data.train", "trainaug"))


def test_refusal_shows_value_and_demand(sensible: Config) -> None:
    with pytest.raises(UserError, match=r"^classifier\.augment\.scale=\[2\.0,1\.0\]: must be two numbers above 0"):
        validate(changed(sensible, "classifier.augment.scale", [2.0, 1.0]))


def numbers(schema: type = Config, prefix: str = "") -> set[str]:
    keys = set()
    for field in fields(schema):
        hint = get_type_hints(schema)[field.name]
        if is_dataclass(hint):
            keys |= numbers(hint, f"{prefix}{field.name}.")
        elif re.search(r"\b(int|float)\b", str(hint)):
            keys.add(prefix + field.name)
    return keys


def test_every_number_has_a_rule() -> None:
    watched = {key for rule in RULES for key in rule.keys}
    assert numbers() - watched == {"data.size"}  # which has a meaning for the embedded benchmark alone
