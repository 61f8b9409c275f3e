"""What the door refuses, and that it watches every number."""

import math
import re
from copy import deepcopy
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import get_type_hints

import pytest

from eps.cli import compose
from eps.errors import UserError
from eps.schema import Config
from eps.schema.crf import CRFBackend
from eps.schema.data import DataKind
from eps.schema.evaluate import Subject
from eps.schema.output import OutputFormat
from eps.schema.pseudo_masks import SaliencyUse
from eps.schema.segmenter import SegmenterKind
from eps.schema.trunk import TrunkHead
from eps.validation import validate
from eps.validation.values import RULES


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
        ("saliency.size", [320]),
        ("saliency.size", [1, 320]),
        ("saliency.mean", [0.5]),
        ("saliency.std", [1.0, 0.0, 1.0]),
        ("saliency.batch", 0),
        ("saliency.splits", []),
        ("saliency.splits", ["train", "tset"]),
        ("evaluate.thresholds", [0.0, 0.5]),
        ("evaluate.thresholds", [0.5, 0.2]),
        ("evaluate.thresholds", [0.5, 1.0]),
        ("evaluate.pairs", [["train"]]),
        ("evaluate.pairs", [["train", "train"]]),
        ("evaluate.boundary_tolerance", -1.0),
        ("pseudo_masks.crf_alpha", 0.0),
        ("predict.crf_parameters.bilateral_srgb", 0.0),
        ("source", ""),
        ("predictions", "masks"),
        ("truth", "masks"),
        ("classes", "voc"),
        ("ids", "val.txt"),
        ("trunk.weights", "package"),
        ("trunk.weights", "file:"),
        ("trunk.weights", "mxnet:"),
        ("trunk.output_stride", 4),
        ("trunk.output_stride", 8),
        ("trunk.frozen_stages", -1),
        ("trunk.finest_stride", 16),
        ("trunk.deformable_every", -1),
        ("segmenter.weights", "yolact_base_54_800000.pth"),
        ("segmenter.weights", "released:"),
        ("segmenter.masks_per_image", 0),
        ("segmenter.mask_iou_weight", -1.0),
        ("segmenter.tag_weight", -1.0),
        ("trunk.prototypes", 0),
        ("trunk.fpn_channels", 0),
        ("classifier.dropout", 1.0),
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
        ("classifier.augment.long_side", [512, 256]),
        ("classifier.augment.long_side", [256]),
        ("classifier.augment.long_side", [0, 256]),
        ("classifier.augment.flip", 2.0),
        ("classifier.augment.jitter", [0.3, 0.3, 0.3]),
        ("classifier.augment.jitter", [0.3, 0.3, 0.3, 0.6]),
        ("pseudo_masks.scales", []),
        ("pseudo_masks.scales", [math.inf]),
        ("pseudo_masks.crf_parameters.bilateral_srgb", 1e-300),
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
        ("segmenter.deeplab.weights", "package:x"),
        ("segmenter.deeplab.output_stride", 32),
        ("segmenter.deeplab.scale", [1.5, 0.5]),
        ("segmenter.deeplab.test_scales", []),
        ("runtime.threads", -1),
        ("runtime.cache_mb", -1),
        ("app.port", 2**16),
        ("app.max_side", -1),
        ("app.max_upload_mb", 0.0),
        ("app.host", ""),
        ("runtime.max_bad_steps", -1),
        ("runtime.looks", -1),
        ("runtime.accumulate", 0),
        ("runtime.memory_limit", -2),
        ("trunk.frozen_norm", "maybe"),
        ("segmenter.optim.base_batch", -8),
        ("segmenter.augment.expand", 0.5),
        ("segmenter.augment.min_side", -1.0),
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
        ("trunk.frozen_norm", "auto"),
        ("trunk.weights", "mxnet:net-0001.params"),
        ("name", "a/b-1.2"),
        ("evaluate.thresholds", []),
        ("evaluate.thresholds", [0.1, 0.2]),
        ("evaluate.pairs", [["train", "boat"], ["train", "background"]]),
        ("classifier.optim.drops", [0.5, 0.75]),
        ("segmenter.scales", [[8.0, 9.0], [16.0, 18.0], [24.0, 32.0]]),
    ],
)
def test_sense_passes(sensible: Config, key: str, value: object) -> None:
    validate(changed(sensible, key, value))


def test_splits_of_other_data_are_not_the_benchmarks(sensible: Config) -> None:
    other = changed(changed(sensible, "data.kind", DataKind.folder), "data.sizes", {})
    validate(changed(changed(other, "data.size", 0), "data.train", "trainaug"))


def test_what_does_not_go_together(sensible: Config) -> None:
    thresholds = changed(sensible, "evaluate.thresholds", [0.2])
    validate(thresholds)
    with pytest.raises(UserError, match="only pseudo-masks have maps to threshold"):
        validate(changed(thresholds, "evaluate.subject", Subject.segmenter))
    coco = changed(sensible, "format", OutputFormat.coco)
    validate(coco)
    with pytest.raises(UserError, match="format=coco shows instances"):
        validate(changed(coco, "predict.crf", CRFBackend.pydensecrf))
    foreign = changed(changed(sensible, "predictions", "masks"), "truth", "masks")
    validate(changed(foreign, "classes", 20))


def test_shards_have_no_saliency_to_join(sensible: Config) -> None:
    fused = changed(sensible, "pseudo_masks.saliency", SaliencyUse.trusted)
    validate(fused)
    with pytest.raises(UserError, match="shards have no saliency maps"):
        validate(changed(fused, "source", "shards:photos-*.tar"))


def test_released_weights_are_yolacts_and_the_only_start(sensible: Config) -> None:
    released = changed(sensible, "segmenter.weights", "released:yolact_base_54_800000.pth")
    with pytest.raises(UserError, match=r"set segmenter\.warm_start=false"):
        validate(released)
    alone = changed(released, "segmenter.warm_start", False)
    validate(alone)
    with pytest.raises(UserError, match="only YOLACT has released weights"):
        validate(changed(alone, "segmenter.kind", SegmenterKind.deeplab))


@pytest.mark.parametrize("form", [OutputFormat.onnx, OutputFormat.torch])
def test_deeplab_is_not_exported(form: OutputFormat) -> None:
    """So that stage 3 says it before it has trained."""
    deeplab = compose("segmenter=deeplab")
    with pytest.raises(UserError, match=rf"^format={form}: DeepLab has no boxes"):
        validate(changed(deeplab, "format", form))
    validate(changed(changed(deeplab, "format", form), "model", "another.pth"))


def test_deeplab_starts_alone_and_needs_a_batch_for_its_norms() -> None:
    deeplab = compose("segmenter=deeplab")
    with pytest.raises(UserError, match=r"^segmenter\.warm_start=True: DeepLab shares no trunk"):
        validate(changed(deeplab, "segmenter.warm_start", True))
    single = changed(deeplab, "segmenter.batch", 1)
    with pytest.raises(UserError, match=r"^segmenter\.batch=1: batch norms need 2 photos"):
        validate(single)
    validate(changed(single, "segmenter.deeplab.frozen_norm", True))


def test_deeplab_stands_on_what_can_be_dilated() -> None:
    deeplab = compose("segmenter=deeplab")
    with pytest.raises(UserError, match=r"^segmenter\.deeplab\.output_stride=16: torchvision's resnet101 has 8"):
        validate(changed(deeplab, "segmenter.deeplab.output_stride", 16))
    at_16 = compose("segmenter=deeplab", "segmenter.deeplab.backbone=trunk", "segmenter.deeplab.output_stride=16")
    with pytest.raises(UserError, match=r"backbone=trunk: deformable .* set trunk\.deformable_every=0$"):
        validate(changed(at_16, "trunk.deformable_every", 1))
    with pytest.raises(UserError, match=r"backbone=trunk: yolact_darknet53 cannot be dilated"):
        validate(changed(at_16, "trunk.backbone", "yolact_darknet53"))
    wide = changed(at_16, "trunk.backbone", "resnet38")
    with pytest.raises(UserError, match=r"^segmenter\.deeplab\.output_stride=16: trunk\.backbone=resnet38 has 8"):
        validate(wide)
    validate(changed(wide, "segmenter.deeplab.output_stride", 8))


def test_refusal_shows_value_and_demand(sensible: Config) -> None:
    with pytest.raises(UserError, match=r"^classifier\.augment\.long_side=\[9,8\]: must be two numbers of pixels"):
        validate(changed(sensible, "classifier.augment.long_side", [9, 8]))


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


def test_an_identity_head_needs_no_sizes(sensible: Config) -> None:
    cfg = changed(sensible, "trunk.head", TrunkHead.identity)
    for key, value in (("output_stride", 8), ("fpn_channels", 0), ("head_channels", 0), ("prototypes", 0)):
        cfg = changed(cfg, f"trunk.{key}", value)
    validate(cfg)
