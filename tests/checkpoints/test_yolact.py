import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import eps
from eps import build
from eps.checkpoints import load_released
from eps.checkpoints.yolact import ReleasedYolact, Told, load_yolact_file, parse_file_name, start_from_released
from eps.checkpoints.yolact_specs import SPECS
from eps.cli import compose
from eps.data.class_names import COCO, VOC
from eps.engine.checkpoint import load_segmenter, save_model
from eps.errors import UserError
from eps.models.spec import build_segmenter
from eps.schema.segmenter import ReleasedNetwork

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDED = ("yolact_resnet50", "yolact_base", "yolact_darknet53", "yolact_plus_resnet50")
LAYOUTS = {name: name for name in (*RECORDED, "yolact_plus_base", "yolact_resnet50_pascal")} | {
    "yolact_im400": "yolact_base",
    "yolact_im700": "yolact_base",
}
"""Whose key layout a model has."""

Shapes = dict[str, list[int]]
Fill = Callable[..., dict[str, torch.Tensor]]


def shapes_of(name: str) -> Shapes:
    shapes: Shapes = json.loads((GOLDEN / f"{LAYOUTS[name]}_state_dict.json").read_text())
    return shapes


def zeros(name: str) -> dict[str, torch.Tensor]:
    """A state dict of the right shapes that takes no memory."""
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes_of(name).items()}


def near(found: torch.Tensor, golden: np.ndarray) -> bool:
    expected = torch.from_numpy(golden)
    assert found.shape == expected.shape
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


def total(tensor: torch.Tensor) -> float:
    return tensor.double().sum().item()


@pytest.mark.parametrize("name", RECORDED)
@torch.inference_mode()
def test_outputs_are_the_released_ones(name: str, fill: Fill) -> None:
    golden = np.load(GOLDEN / f"{name}.npz")
    model = load_released(name, fill(shapes_of(name)))
    assert isinstance(model, ReleasedYolact)
    size, step, proto_step = (int(golden[key]) for key in ("size", "prior_step", "proto_step"))
    image = F.interpolate(torch.from_numpy(golden["coarse_input"]), size=(size, size), mode="bilinear")
    output = model(image)
    assert near(output.loc[:, ::step], golden["loc"])
    assert near(output.conf[:, ::step], golden["conf"])
    assert near(output.mask[:, ::step], golden["mask"])
    assert near(output.priors[::step], golden["priors"])
    assert near(output.proto[:, ::proto_step, ::proto_step], golden["proto"])
    assert len(output.priors) == golden["n_priors"]
    assert total(output.loc.abs()) == pytest.approx(golden["loc_sum"], rel=1e-4)
    assert total(output.mask.abs()) == pytest.approx(golden["mask_sum"], rel=1e-4)
    assert total(output.proto) == pytest.approx(golden["proto_sum"], rel=1e-4)
    assert output.priors.double().sum(0).numpy() == pytest.approx(golden["priors_sum"], rel=1e-6)
    if "maskiou_input" in golden:
        shape = golden["maskiou_shape"]
        masks = np.unpackbits(golden["maskiou_input"])[: shape.prod()].reshape(shape)
        assert near(model.maskiou(torch.from_numpy(masks).float()), golden["maskiou"])


@pytest.mark.parametrize(
    ("name", "size", "anchors", "side"),
    [
        ("yolact_im400", 400, 10077, 100),
        ("yolact_im700", 700, 30963, 176),
        ("yolact_resnet50_pascal", 550, 19248, 138),
        ("yolact_plus_base", 550, 57744, 138),
    ],
)
@torch.inference_mode()
def test_sizes(name: str, size: int, anchors: int, side: int) -> None:
    """Of the models without recorded outputs; no number is computed on the meta device."""
    spec = SPECS[name]
    assert spec.image_size == (size, size)
    with torch.device("meta"):
        model = ReleasedYolact(segmenter=build_segmenter(spec), spec=spec).eval()
    output = model(torch.empty(1, 3, size, size, device="meta"))
    classes = 20 if name.endswith("pascal") else 80
    assert output.loc.shape == (1, anchors, 4)
    assert output.conf.shape == (1, anchors, classes + 1)
    assert output.mask.shape == (1, anchors, 32)
    assert output.priors.shape == (anchors, 4)
    assert output.proto.shape == (1, side, side, 32)


@pytest.mark.parametrize("name", SPECS)
def test_key_layout(name: str) -> None:
    """Every tensor of the layout finds its place, and none is left without."""
    model = load_released(name, zeros(name))
    assert isinstance(model, ReleasedYolact)
    assert not model.training
    assert sum(t.numel() for t in model.state_dict().values()) == sum(t.numel() for t in zeros(name).values())
    assert all(not t.any() for t in model.segmenter.state_dict().values())
    assert model.notes == ()
    assert model.spec.classes == (VOC if name.endswith("pascal") else COCO)


def small(name: str = "yolact_resnet50") -> dict[str, torch.Tensor]:
    """Of the right shapes, each tensor filled with its own number."""
    return {key: torch.full((), i % 97 / 97).expand(shape) for i, (key, shape) in enumerate(shapes_of(name).items())}


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = (one.state_dict(), other.state_dict())
    return all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))


@pytest.fixture(scope="module")
def plain() -> ReleasedYolact:
    made = load_released("yolact_resnet50", small())
    assert isinstance(made, ReleasedYolact)
    return made


def test_what_old_versions_left_in_is_dropped(plain: ReleasedYolact) -> None:
    state = {key: tensor for key, tensor in small().items() if not key.endswith("num_batches_tracked")}
    state["backbone.layer1.0.conv1.weight"] = torch.ones(1)
    state |= {f"fpn.downsample_layers.{n}.{leaf}": torch.ones(1) for n in (2, 10) for leaf in ("weight", "bias")}
    wrapped = {"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}}
    old = load_released("yolact_resnet50", wrapped)  # type: ignore[arg-type]
    counters = {key for key in plain.state_dict() if key.endswith("num_batches_tracked")}
    ours, theirs = plain.state_dict(), old.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if key not in counters)


def test_every_fault_is_named_at_once() -> None:
    state = small()
    del state["proto_net.8.bias"]
    state["fpn.lat_layers.0.weight"] = torch.zeros(256, 99, 1, 1)
    state["fpn.downsample_layers.1.scale"] = torch.zeros(1)
    with pytest.raises(UserError) as error:
        load_released("yolact_resnet50", state)
    message = str(error.value)
    assert "yolact_resnet50 does not fit" in message
    for fault in ("missing proto_net.8.bias", "misshapen fpn.lat_layers.0.weight 256x99x1x1 for 256x2048x1x1"):
        assert fault in message
    assert "unexpected fpn.downsample_layers.1.scale" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "layout", "fault"),
    [
        ("yolact_resnet50", "yolact_plus_resnet50", "unexpected .*conv_offset_mask"),
        ("yolact_plus_resnet50", "yolact_resnet50", "missing .*conv_offset_mask"),
        ("yolact_darknet53", "yolact_resnet50", "missing backbone._preconv"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(name: str, layout: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        load_released(name, zeros(layout))


def test_unknown_names_are_told_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'yolact_vgg16'.*eps_resnet38.*yolact_base.*yolact_plus_resnet50"):
        load_released("yolact_vgg16", {})


def test_a_checkpoint_of_ones_own_classes_is_read_as_it_is() -> None:
    """As people have who trained the released code on their own data."""
    state = of_three_classes()
    made = load_released("yolact_resnet50", state)
    assert isinstance(made, ReleasedYolact)
    assert made.spec.classes == ("class 1", "class 2", "class 3")
    assert made.notes == ()
    named = load_released("yolact_resnet50", state, classes=["rail", "train", "boat"])
    assert isinstance(named, ReleasedYolact)
    assert named.spec.classes == ("rail", "train", "boat")
    assert equal(made, named)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (0, "classes=0: give voc, coco, names"),
        (-3, "classes=-3: "),
        (True, "classes=True: "),
        ("person", "classes=person: "),
        ([], r"classes=\[\]: "),
        (["a", "a"], "give each name once"),
        (["background", "a"], "without background"),
    ],
)
def test_what_are_no_classes_is_refused(classes: Any, message: str) -> None:
    """Before anything is built."""
    with pytest.raises(UserError, match=message):
        load_released("yolact_resnet50", {}, classes=classes)


def of_three_classes() -> dict[str, torch.Tensor]:
    state = small()
    for key, rows in (("prediction_layers.0.conf_layer", 3 * 4), ("semantic_seg_conv", 3)):
        state |= {f"{key}.{leaf}": state[f"{key}.{leaf}"][:rows] for leaf in ("weight", "bias")}
    return {key: tensor.contiguous() for key, tensor in state.items()}


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the released code leaves one of somebody's own config and data."""
    path = tmp_path_factory.mktemp("own") / "my_cfg_10_2000.pth"
    torch.save(of_three_classes(), path)
    return path


def test_a_file_of_any_name_where_it_is_told_what_it_is(own_file: Path) -> None:
    with pytest.raises(UserError, match=r"say which one it is: released=yolact_base, in Python name='yolact_base'"):
        eps.load(own_file)
    predictor = eps.load(own_file, name="yolact_resnet50", classes=["cat", "dog", "person"])
    assert predictor.classes == ("cat", "dog", "person")
    with pytest.raises(UserError, match=r"these are 2 names, .*my_cfg_10_2000\.pth has 3 classes"):
        load_yolact_file(own_file, Told("yolact_resnet50", ("cat", "dog")))
    with pytest.raises(UserError, match=r"no released YOLACT 'yolact_vgg16': choose one of yolact_base, "):
        eps.load(own_file, name="yolact_vgg16")
    with pytest.raises(UserError, match=r"as yolact_plus_resnet50 does not fit: missing "):
        load_yolact_file(own_file, Told("yolact_plus_resnet50"))


def test_a_copy_of_a_released_config_is_described_by_ours(own_file: Path) -> None:
    """Its size and anchors are not in the file; what is, must be as described."""
    copy = ("segmenter=yolact_resnet50", "trunk.weights=none", f"model={own_file}", "released=config")
    scales = "segmenter.scales=[[16.0],[32.0],[64.0],[128.0],[256.0]]"
    told = build.told(compose(*copy, "segmenter.image_size=[300,400]", scales, "classes=[cat,dog,person]"))
    made = load_yolact_file(own_file, told)
    assert made.spec.image_size == (300, 400)
    assert made.spec.scales == ((16.0,), (32.0,), (64.0,), (128.0,), (256.0,))
    assert made.spec.classes == ("cat", "dog", "person")
    more = "segmenter.scales=[[16.0,20.0],[32.0,40.0],[64.0,80.0],[128.0,160.0],[256.0,320.0]]"
    with pytest.raises(UserError, match=r"as this config describes it does not fit: misshapen prediction_layers"):
        load_yolact_file(own_file, build.told(compose(*copy, more)))


def test_what_says_itself_what_it_is_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.safetensors says itself which network and classes it has"):
        eps.load(tmp_path, classes=["a", "b"])
    with pytest.raises(UserError, match=r"model\.onnx says itself which network"):
        eps.load(tmp_path / "model.onnx", name="yolact_base")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["released=yolact_base"], r"released=yolact_base: goes with model=FILE\.pth"),
        (["released=config", "model=a.pth"], r"released=config: choose the network .* segmenter=yolact_base"),
        (["classes=[a,b]"], r"classes=\[.*: goes with predictions=DIR"),
        (["released=yolact_vgg16", "model=a.pth"], "released"),
    ],
)
def test_what_is_told_in_vain(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose(*overrides)


def test_the_config_knows_every_released_network() -> None:
    assert {kind.value for kind in ReleasedNetwork} == {"auto", "config", *SPECS}


def test_training_goes_on_from_a_file_of_any_name(own_file: Path, plain: ReleasedYolact) -> None:
    spec = replace(SPECS["yolact_resnet50"], classes=("cat", "dog", "person"), image_size=(300, 300))
    model = build_segmenter(spec)
    assert start_from_released(model, path=own_file, spec=spec) == ()
    assert torch.equal(model.box_head.boxes.weight, plain.segmenter.box_head.boxes.weight)
    with pytest.raises(UserError, match="choose the network that it is, such as segmenter=yolact_base"):
        start_from_released(model, path=own_file, spec=replace(spec, design="shared"))


def test_a_file_without_what_training_alone_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], plain: ReleasedYolact
) -> None:
    """Instances are found as ever; semantic maps are refused, not made up."""
    path = tmp_path / "yolact_resnet50_1_2.pth"
    state = {key: tensor.contiguous() for key, tensor in small().items() if not key.startswith("semantic_seg_conv")}
    torch.save(state, path)
    predictor = eps.load(path)
    told = " ".join(capsys.readouterr().err.split())
    assert "yolact_resnet50_1_2.pth has no semantic_seg_conv: it finds instances, but has no semantic map" in told
    assert not predictor.has_semantic
    with pytest.raises(UserError, match="this file has no semantic map"):
        predictor.probabilities(np.zeros((4, 5, 3), dtype=np.uint8))
    ours, theirs = plain.segmenter.state_dict(), predictor.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if not key.startswith("semantic_head"))
    half = {key: tensor for key, tensor in small().items() if key != "semantic_seg_conv.bias"}
    with pytest.raises(UserError, match=r"missing semantic_seg_conv\.bias"):
        load_released("yolact_resnet50", half)


@pytest.mark.parametrize(("name", "heads"), [("yolact_resnet50", 2), ("yolact_plus_resnet50", 3)])
def test_other_classes_start_what_depends_on_them_afresh(name: str, heads: int) -> None:
    whole = load_released(name, small(name))
    made = load_released(name, small(name), classes=5)
    assert isinstance(made, ReleasedYolact)
    [note] = made.notes
    assert note.startswith("80 classes became 5: ")
    assert "prediction_layers.0.conf_layer" in note
    assert note.count(",") == heads - 1
    old, new = whole.state_dict(), made.state_dict()
    changed = {key for key in new if new[key].shape != old[key].shape}
    assert len(changed) == 2 * heads
    assert all(torch.equal(new[key], old[key]) for key in new if key not in changed)
    assert made.segmenter.box_head.classes.out_channels % 6 == 0
    assert made.spec.classes == tuple(f"class {i}" for i in range(1, 6))
    assert not made.training


def test_as_many_classes_keep_the_weights(plain: ReleasedYolact) -> None:
    made = load_released("yolact_resnet50", small(), classes=80)
    assert equal(made, plain)


def test_logits_while_training_probabilities_in_evaluation() -> None:
    tiny = replace(SPECS["yolact_base"].trunk, backbone="test_efficientnet", fpn_channels=8, head_channels=8)
    spec = replace(SPECS["yolact_base"], trunk=tiny, classes=("train", "boat"))
    model, image = ReleasedYolact(segmenter=build_segmenter(spec), spec=spec), torch.rand(2, 3, 64, 64)
    trained, evaluated = model.train()(image), model.eval()(image)
    torch.testing.assert_close(evaluated.conf.sum(-1), torch.ones(2, len(evaluated.priors)))
    torch.testing.assert_close(evaluated.conf, trained.conf.softmax(-1))
    torch.testing.assert_close(evaluated.proto, model.segmenter(image).prototypes.permute(0, 2, 3, 1))


def test_v1_rates_no_masks(plain: ReleasedYolact) -> None:
    with pytest.raises(UserError, match="yolact_plus_base"):
        plain.maskiou(torch.rand(1, 1, 138, 138))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("yolact_base_54_800000.pth", ("yolact_base", 54, 800000)),
        ("weights/yolact_plus_resnet50_54_800000.pth", ("yolact_plus_resnet50", 54, 800000)),
        ("/a_1_2/yolact_im700_0_7.pth", ("yolact_im700", 0, 7)),
        ("yolact_resnet50_pascal_120_120000_interrupt.pth", ("yolact_resnet50_pascal", 120, 120000)),
    ],
)
def test_file_names(path: str, expected: tuple[str, int, int]) -> None:
    assert parse_file_name(path) == expected
    assert parse_file_name(Path(path)) == expected


@pytest.mark.parametrize("path", ["model.pth", "yolact_base.pth", "yolact_54_1.pth", "yolact_base_54_800000.pt", ""])
def test_other_file_names(path: str) -> None:
    with pytest.raises(UserError, match="<model>_<epoch>_<iteration>"):
        parse_file_name(path)


def test_a_file_tells_its_model(tmp_path: Path, plain: ReleasedYolact) -> None:
    path = tmp_path / "yolact_resnet50_54_800000.pth"
    torch.save({key: tensor.contiguous() for key, tensor in small().items()}, path)
    assert equal(load_released("auto", path), plain)
    assert equal(load_released("yolact_resnet50", str(path)), plain)
    with pytest.raises(UserError, match="name the model of a state dict"):
        load_released("auto", small())


def test_eps_models_are_not_adapted() -> None:
    with pytest.raises(UserError, match="eps_resnet38 is not adapted"):
        load_released("eps_resnet38", {}, classes=3)


def test_saved_as_ours_it_comes_back_from_its_file_alone(tmp_path: Path, plain: ReleasedYolact) -> None:
    save_model(tmp_path / "model.safetensors", plain.segmenter, plain.spec)
    again, spec = load_segmenter(tmp_path / "model.safetensors")
    assert spec == plain.spec
    assert equal(again, plain.segmenter)
