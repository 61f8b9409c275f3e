import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from eps.checkpoints import initial_weights
from eps.checkpoints.initial_weights import load_initial_weights, other_normalization, weights_hash
from eps.checkpoints.yolact import _released_key
from eps.errors import UserError
from eps.nn.backbone import Backbone
from eps.nn.deformable import added_keys

NAME = "test_efficientnet"
GOLDEN = Path(__file__).parents[1] / "golden"


def state_of(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = timm.create_model(NAME, pretrained=False).state_dict()
    return state


def same(backbone: Backbone, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, state[key]) for key, tensor in backbone.body.state_dict().items())


def test_none_leaves_the_weights() -> None:
    backbone = Backbone(name=NAME)
    before = {key: tensor.clone() for key, tensor in backbone.body.state_dict().items()}
    load_initial_weights(backbone, name=NAME, source="none")
    assert same(backbone, before)


@pytest.mark.parametrize("renamed", [False, True])
def test_weights_from_a_file(tmp_path: Path, renamed: bool) -> None:
    state = state_of(1)
    stored = {f"layer{i}" if renamed else key: tensor for i, (key, tensor) in enumerate(state.items())}
    torch.save(stored, tmp_path / "weights.pth")
    backbone = Backbone(name=NAME)
    assert not same(backbone, state)
    load_initial_weights(backbone, name=NAME, source=f"file:{tmp_path / 'weights.pth'}")
    assert same(backbone, state)


def test_order_counts_where_names_do_not_fit(tmp_path: Path) -> None:
    state = state_of(1)
    shuffled = {f"layer{i}": state[key] for i, key in enumerate(reversed(state))}
    torch.save(shuffled, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth are not those of test_efficientnet, by name or by order"):
        load_initial_weights(Backbone(name=NAME), name=NAME, source=f"file:{tmp_path / 'weights.pth'}")


def test_features_under_other_names_are_refused(tmp_path: Path) -> None:
    """ConvNeXt's feature extractor renames its stages."""
    torch.save(timm.create_model("test_convnext", pretrained=False).state_dict(), tmp_path / "weights.pth")
    source = f"file:{tmp_path / 'weights.pth'}"
    with pytest.raises(
        UserError, match=r"trunk\.weights=file:.* for test_convnext does not fit: missing stem_0\.weight"
    ):
        load_initial_weights(Backbone(name="test_convnext"), name="test_convnext", source=source)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"", "not a file of torch.save"),
        (b"PK\x03\x04 cut off", "not a file of torch.save"),
        ({"state_dict": {"a": torch.zeros(1)}}, "are not those of test_efficientnet"),
        (torch.zeros(3), "no state dict"),
    ],
)
def test_unusable_file(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=rf"trunk\.weights.*weights\.pth .*{reason}"):
        load_initial_weights(Backbone(name=NAME), name=NAME, source=f"file:{path}")


@pytest.mark.parametrize("source", ["", "imagnet", "file:", "package:", "mxnet:", "url:http://x"])
def test_unknown_source(source: str) -> None:
    with pytest.raises(UserError, match="use imagenet, package:NAME, file:PATH, mxnet:PATH or none"):
        load_initial_weights(Backbone(name=NAME), name=NAME, source=source)


def test_weights_from_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "carries_weights"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").touch()
    backbone, source = Backbone(name=NAME), "package:carries_weights"
    with pytest.raises(UserError, match=r"0 \.pth files in it, one is needed"):
        load_initial_weights(backbone, name=NAME, source=source)
    assert weights_hash(source) == ""
    state = state_of(2)
    torch.save(state, package / "inner" / "weights.pth")
    load_initial_weights(backbone, name=NAME, source=source)
    assert same(backbone, state)
    as_distributed = Backbone(name=NAME)
    load_initial_weights(as_distributed, name=NAME, source="package:carries-weights")
    assert same(as_distributed, state)
    assert weights_hash(source) == sha256((package / "inner" / "weights.pth").read_bytes()).hexdigest()
    torch.save(state, package / "more.pth")
    with pytest.raises(UserError, match=r"2 \.pth files in it"):
        load_initial_weights(backbone, name=NAME, source=source)
    assert weights_hash(source) == ""


@pytest.mark.parametrize("name", ["no_such_thing", "no_such_thing.inner", "json.decoder.inner"])
def test_missing_package(name: str) -> None:
    with pytest.raises(UserError, match=rf"trunk\.weights=package:{name}: it is not installed: pip install"):
        load_initial_weights(Backbone(name=NAME), name=NAME, source=f"package:{name}")
    assert weights_hash(f"package:{name}") == ""


def test_imagenet_fits_networks_that_rename_their_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded here: timm is asked for random weights instead."""
    create = timm.create_model
    backbone = Backbone(name="test_convnext")
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **more: create(name, pretrained=False, **more))
    before = backbone.body.state_dict()["stages_0.blocks.0.mlp.fc1.weight"].clone()
    load_initial_weights(backbone, name="test_convnext", source="imagenet")
    assert not torch.equal(backbone.body.state_dict()["stages_0.blocks.0.mlp.fc1.weight"], before)


def test_imagenet_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **more: object) -> None:
        raise FileNotFoundError("Check your\nconnection")

    backbone = Backbone(name=NAME)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"^trunk\.weights=imagenet: timm cannot get .*: Check your connection$"):
        load_initial_weights(backbone, name=NAME, source="imagenet")


@pytest.fixture(scope="module")
def resnet38() -> Backbone:
    return Backbone(name="resnet38", strides=(8,))


def released_state() -> dict[str, torch.Tensor]:
    """Each tensor of another value, which is stored once."""
    shapes = json.loads((GOLDEN / "resnet38_eps_state_dict.json").read_text())
    return {key: torch.tensor(1.0 + i).expand(shape) for i, (key, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize("wrapped", [False, True])
def test_resnet38_from_a_released_file(resnet38: Backbone, tmp_path: Path, wrapped: bool) -> None:
    """Its last layer is left out."""
    state = released_state()
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "res38.pth")
    load_initial_weights(resnet38, name="resnet38", source=f"file:{tmp_path / 'res38.pth'}")
    assert same(
        resnet38, {key: tensor.to(torch.int64 if "num_b" in key else tensor.dtype) for key, tensor in state.items()}
    )


def test_resnet38_from_mxnet(resnet38: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """MXNet's norms count no batches; a file of 400 MB is not written here."""
    kept = {key: tensor for key, tensor in released_state().items() if not key.endswith("num_batches_tracked")}
    monkeypatch.setattr(initial_weights, "read_params", lambda path: {} if str(path) == "net.params" else None)
    monkeypatch.setattr(initial_weights, "resnet38_state", lambda arrays: kept)
    load_initial_weights(resnet38, name="resnet38", source="mxnet:net.params")
    learnt = {key: tensor for key, tensor in resnet38.body.state_dict().items() if key in kept}
    assert len(learnt) == len(kept) - 1
    assert all(torch.equal(tensor, kept[key]) for key, tensor in learnt.items())


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("resnet38", "imagenet", "timm has no resnet38; use mxnet:PATH or file:PATH"),
        ("resnet38", "mxnet:absent.params", r"absent\.params does not exist"),
        (NAME, "mxnet:net.params", r"only trunk\.backbone=resnet38 starts from MXNet's weights"),
    ],
)
def test_weights_that_a_network_does_not_take(resnet38: Backbone, name: str, source: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load_initial_weights(resnet38, name=name, source=source)


def test_faults_are_named(resnet38: Backbone, tmp_path: Path) -> None:
    state = released_state()
    del state["b5.conv_branch1.weight"]
    torch.save(state, tmp_path / "res38.pth")
    with pytest.raises(UserError, match=r"res38\.pth for resnet38 does not fit: missing b5\.conv_branch1\.weight$"):
        load_initial_weights(resnet38, name="resnet38", source=f"file:{tmp_path / 'res38.pth'}")


@pytest.mark.parametrize("prefix", ["backbone.", ""], ids=["checkpoint", "backbone alone"])
def test_a_released_yolacts_backbone(tmp_path: Path, prefix: str) -> None:
    """DarkNet-53 under the names that it was released with, without the counters that old batch norms have not."""
    shapes = json.loads((GOLDEN / "yolact_darknet53_state_dict.json").read_text())
    numbered = {key: torch.full((), i / 100).expand(shape).clone() for i, (key, shape) in enumerate(shapes.items())}
    state = {
        prefix + key.removeprefix("backbone."): tensor
        for key, tensor in numbered.items()
        if key.startswith("backbone.") and not key.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "darknet53.pth")
    backbone = Backbone(name="yolact_darknet53", strides=(8, 16, 32))
    load_initial_weights(backbone, name="yolact_darknet53", source=f"file:{tmp_path / 'darknet53.pth'}")
    ours = backbone.body.state_dict()
    assert torch.equal(ours["stem.0.weight"], numbered["backbone._preconv.0.weight"])
    assert torch.equal(ours["stages.4.0.0.weight"], numbered["backbone.layers.4.0.0.weight"])
    assert torch.equal(ours["stages.2.8.narrow.1.bias"], numbered["backbone.layers.2.8.conv1.1.bias"])
    assert torch.equal(ours["stages.2.8.widen.0.weight"], numbered["backbone.layers.2.8.conv2.0.weight"])


def test_darknet_is_not_timms(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"timm has no yolact_darknet53; use file:PATH"):
        load_initial_weights(Backbone(name="yolact_darknet53"), name="yolact_darknet53", source="imagenet")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"missing stem\.0\.weight"):
        load_initial_weights(
            Backbone(name="yolact_darknet53"), name="yolact_darknet53", source=f"file:{tmp_path / 'other.pth'}"
        )


def test_plain_weights_for_deformable_convolutions(tmp_path: Path) -> None:
    """What a plain ResNet has not, the offsets, stays as it was: zero."""
    plain = timm.create_model("test_resnet", features_only=True).state_dict()
    torch.save(plain, tmp_path / "weights.pth")
    backbone = Backbone(name="test_resnet", deformable_every=1)
    load_initial_weights(backbone, name="test_resnet", source=f"file:{tmp_path / 'weights.pth'}")
    own = backbone.body.state_dict()
    added = set(own) - set(plain)
    assert added
    assert all(not own[key].any() for key in added)
    assert all(torch.equal(own[key], plain[key]) for key in plain)


@pytest.mark.parametrize("naming", ["ours", "released"])
def test_trained_deformable_convolutions_come_along(tmp_path: Path, naming: str) -> None:
    """As a YOLACT++'s file has them."""
    trained = Backbone(name="test_resnet", deformable_every=1)
    with torch.no_grad():
        for number, parameter in enumerate(trained.body.parameters()):
            parameter.fill_(number / 100)
    state = trained.body.state_dict()
    if naming == "released":
        state = {_released_key(f"trunk.backbone.body.{key}"): tensor for key, tensor in state.items()}
    torch.save(state, tmp_path / "weights.pth")
    backbone = Backbone(name="test_resnet", deformable_every=1)
    load_initial_weights(backbone, name="test_resnet", source=f"file:{tmp_path / 'weights.pth'}")
    assert added_keys(backbone.body)
    assert same(backbone, trained.body.state_dict())


@pytest.mark.parametrize("kind", ["file", "mxnet", "released"])
def test_weights_are_known_by_what_the_file_holds(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights"
    source = f"{kind}:{path}"
    assert weights_hash(source) == weights_hash("none") == weights_hash("imagenet") == ""
    path.write_bytes(b"some")
    assert weights_hash(source) == sha256(b"some").hexdigest()
    path.write_bytes(b"other")
    assert weights_hash(source) == sha256(b"other").hexdigest()


def test_photos_normalised_otherwise_than_those_of_timms_weights_are_told() -> None:
    told = other_normalization("resnet50", mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    assert "trunk.mean=[0.485, 0.456, 0.406] and trunk.std=[0.229, 0.224, 0.225]" in told
    assert other_normalization("tf_efficientnet_lite0", mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]) == ""
    assert other_normalization("resnet38", mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0]) == ""
