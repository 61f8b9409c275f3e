import json
from dataclasses import replace

import pytest
import torch

from eps.errors import UserError
from eps.models.spec import (
    ClassifierSpec,
    DeepLabSpec,
    SegmenterSpec,
    Spec,
    TrunkSpec,
    build_classifier,
    build_deeplab,
    build_segmenter,
    from_json,
    to_json,
)

TRUNK = TrunkSpec(
    backbone="test_efficientnet",
    frozen_norm=False,
    fpn_channels=8,
    head_channels=6,
    head_depth=2,
    prototypes=5,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
CLASSIFIER = ClassifierSpec(trunk=TRUNK, classes=("train", "Bahnübergang", 'quo"te'), background=True)
SEGMENTER = SegmenterSpec(
    trunk=TRUNK,
    classes=("train",),
    image_size=(64, 96),
    scales=((8.0, 9.5), (16.0, 20.0), (24.0, 1 / 3)),
    ratios=(1.0, 0.5),
)


DEEPLAB = DeepLabSpec(
    backbone="resnet50", classes=("train", "boat"), frozen_norm=True, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)
)


ON_TRUNK = replace(
    DEEPLAB, backbone="trunk", frozen_norm=False, trunk=replace(TRUNK, head="identity", output_stride=16)
)


@pytest.mark.parametrize("spec", [CLASSIFIER, replace(CLASSIFIER, background=False), SEGMENTER, DEEPLAB, ON_TRUNK])
def test_round_trip(spec: Spec) -> None:
    again = from_json(to_json(spec))
    assert again == spec
    assert type(again) is type(spec)
    assert hash(again) == hash(spec)  # tuples all the way down, no list left


def test_equal_specs_have_equal_text() -> None:
    text = to_json(CLASSIFIER)
    shuffled = json.dumps(dict(reversed(json.loads(text).items())))
    assert to_json(from_json(shuffled)) == text


def without(text: str, key: str) -> str:
    fields = json.loads(text)
    del fields[key]
    return json.dumps(fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        "{}",
        to_json(CLASSIFIER).replace('"classifier"', '"detector"'),
        to_json(CLASSIFIER).replace('"background"', '"foreground"'),
        to_json(CLASSIFIER).replace('"classifier"', '"segmenter"'),
        to_json(CLASSIFIER).replace('"head_depth"', '"depth"'),
        without(to_json(SEGMENTER), "trunk"),
        without(to_json(SEGMENTER), "kind"),
        without(to_json(SEGMENTER), "scales"),
        without(to_json(DEEPLAB), "backbone"),
        without(to_json(ON_TRUNK), "trunk"),
        to_json(ON_TRUNK).replace('"backbone": "trunk"', '"backbone": "resnet50"'),
        json.dumps(json.loads(to_json(DEEPLAB)) | {"trunk": 1}),
        json.dumps(json.loads(to_json(SEGMENTER)) | {"trunk": 1}),
        json.dumps(json.loads(to_json(SEGMENTER)) | {"trunk": None}),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a model description"):
        from_json(text)


def test_description_alone_rebuilds_the_model() -> None:
    with_tags = replace(SEGMENTER, tag_head=True)
    for spec, build in ((CLASSIFIER, build_classifier), (with_tags, build_segmenter), (ON_TRUNK, build_deeplab)):
        torch.manual_seed(3)
        model = build(spec).eval()
        again = build(from_json(to_json(spec)))
        again.load_state_dict(model.state_dict())
        images = torch.rand(1, 3, 64, 64)
        expected = model(model.normalize(images))
        assert all(torch.equal(a, b) for a, b in zip(again.eval()(again.normalize(images)), expected, strict=True))


def test_weights_are_a_function_of_the_seed() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build_segmenter(SEGMENTER).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_segmenter_takes_the_classifiers_trunk() -> None:
    classifier, segmenter = build_classifier(CLASSIFIER), build_segmenter(SEGMENTER)
    segmenter.trunk.load_state_dict(classifier.trunk.state_dict())
    images = torch.rand(1, 3, 64, 64)
    planes = classifier.eval()(images).prototypes
    assert torch.equal(segmenter.eval()(images).prototypes, planes)


def test_an_unknown_resnet_is_refused() -> None:
    text = to_json(DEEPLAB).replace("resnet50", "resnet18")
    with pytest.raises(UserError, match="'resnet18' is not known: choose resnet50, resnet101 or trunk"):
        build_deeplab(from_json(text))


def test_resnet101_is_the_deeper_one() -> None:
    with torch.device("meta"):
        shallow, deep = build_deeplab(DEEPLAB), build_deeplab(replace(DEEPLAB, backbone="resnet101"))
    assert (len(shallow.backbone["layer3"]), len(deep.backbone["layer3"])) == (6, 23)


def test_a_segmenter_needs_a_pyramid() -> None:
    trunk = replace(TRUNK, head="identity", output_stride=8)
    with pytest.raises(UserError, match=r"^trunk\.head=identity has no pyramid .*and segmenter\.warm_start=false$"):
        build_segmenter(replace(SEGMENTER, trunk=trunk))


def test_a_pyramid_needs_a_stride_of_32() -> None:
    with pytest.raises(UserError, match=r"^trunk\.output_stride=16: a pyramid needs 32; or set trunk\.head=identity$"):
        build_classifier(replace(CLASSIFIER, trunk=replace(TRUNK, output_stride=16)))


def test_descriptions_from_before_there_were_identity_heads() -> None:
    text = to_json(CLASSIFIER)
    fields = json.loads(text)
    del fields["dropout"]
    for key in ("frozen_stages", "output_stride", "head"):
        del fields["trunk"][key]
    assert from_json(json.dumps(fields)) == CLASSIFIER


def test_unknown_head() -> None:
    with pytest.raises(ValueError, match="not a model description"):
        from_json(to_json(replace(CLASSIFIER, trunk=replace(TRUNK, head="identity"))).replace("identity", "none"))


def test_descriptions_of_resnets_are_those_from_before_deeplab_had_a_trunk() -> None:
    fields = {"backbone", "classes", "frozen_norm", "kind", "mean", "std"}
    assert set(json.loads(to_json(DEEPLAB))) == fields
