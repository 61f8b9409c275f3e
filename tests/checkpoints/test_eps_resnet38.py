import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eps.checkpoints import load_released
from eps.checkpoints.eps_resnet38 import ReleasedClassifier, load_eps_classifier
from eps.engine.inference import localize
from eps.errors import UserError
from eps.ops.pseudo_labels import label_map

GOLDEN = Path(__file__).parents[1] / "golden"
Fill = Callable[..., dict[str, Tensor]]


def shapes(kind: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = json.loads((GOLDEN / f"resnet38_{kind}_state_dict.json").read_text())
    return found


def cheap_state(kind: str) -> dict[str, Tensor]:
    """The layout, one zero standing for all values of a tensor: for networks without memory (`meta`)."""
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes(kind).items()}


@pytest.fixture(scope="module", params=["eps", "cls"])
def released(request: pytest.FixtureRequest, fill: Fill) -> tuple[str, ReleasedClassifier]:
    kind = str(request.param)
    model = load_released(f"{kind}_resnet38", fill(shapes(kind)))
    assert isinstance(model, ReleasedClassifier)
    return kind, model


@pytest.mark.slow
def test_golden_outputs(released: tuple[str, ReleasedClassifier]) -> None:
    kind, model = released
    assert not model.training
    with np.load(GOLDEN / f"resnet38_{kind}.npz") as record, torch.inference_mode():
        logits, maps = model(torch.from_numpy(record["input"]))
        for found, expected in ((logits.numpy(), record["logits"]), (maps.numpy(), record["cam"])):
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.slow
def test_golden_inference(released: tuple[str, ReleasedClassifier]) -> None:
    kind, model = released
    with np.load(GOLDEN / f"infer_{kind}.npz") as record:
        tags = torch.from_numpy(record["label"])
        scores = localize(model, record["image"], tags, scales=(0.5, 1, 1.5, 2), flip=True)
        np.testing.assert_allclose(scores[record["classes"]].numpy(), record["cams"], atol=1e-4)
        assert torch.equal(scores.flatten(1).any(dim=1), tags != 0)
        labels = label_map(scores, threshold=float(record["threshold"]), ignore_band=0.0).numpy()
        assert (labels == record["mask"]).mean() > 0.999


def test_unknown_name() -> None:
    with pytest.raises(UserError, match=r"no released model 'eps_resnet'.*eps_resnet38, cls_resnet38"):
        load_released("eps_resnet", {})


@pytest.mark.parametrize("name", ["eps_resnet38", "cls_resnet38"])
def test_faults_are_named_together(name: str) -> None:
    state = cheap_state("eps")
    del state["b4_5.conv_branch2a.weight"]
    state["b2.bn_branch2a.bias"] = torch.zeros(3)
    state["fc9.weight"] = torch.zeros(3)
    with torch.device("meta"), pytest.raises(UserError) as refusal:
        load_released(name, state)
    assert str(refusal.value) == (
        f"{name} does not fit: missing b4_5.conv_branch2a.weight; misshapen b2.bn_branch2a.bias 3 for 64; "
        "unexpected fc9.weight"
    )


@pytest.mark.parametrize(
    "state", [{}, {"fc8.weight": torch.zeros(21, 4096)}, {"fc8.weight": torch.zeros(1, 4096, 1, 1)}]
)
def test_another_network(state: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=r"eps_resnet38 is not EPS's WideResNet-38: missing or misshapen fc8\.weight"):
        load_released("eps_resnet38", state)


def test_a_file_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": {"module.a": torch.zeros(1)}}, tmp_path / "res38.pth")
    for path in (tmp_path / "res38.pth", str(tmp_path / "res38.pth")):
        with pytest.raises(UserError, match=r"res38\.pth is not EPS's WideResNet-38"):
            load_released("eps_resnet38", path)
    with pytest.raises(UserError, match=r"eps_resnet38: .*absent\.pth does not exist"):
        load_released("eps_resnet38", tmp_path / "absent.pth")


def test_wrapped_as_training_scripts_do() -> None:
    with torch.device("meta"):
        state = {f"module.{key}": tensor for key, tensor in cheap_state("cls").items()}
        model = load_released("cls_resnet38", {"state_dict": state})
    assert isinstance(model, ReleasedClassifier)
    assert model.classifier.coefficients.shape == (20, 4096)
    assert not model.classifier.background


@pytest.mark.parametrize(("kind", "dropout"), [("eps", 0.0), ("cls", 0.5)])
def test_the_number_of_maps_tells_which_one_it_is(kind: str, dropout: float) -> None:
    classes = [f"class {i}" for i in range(20)]
    with torch.device("meta"):
        model = load_eps_classifier(cheap_state(kind), classes=classes, source="net.pth")
    assert model.background == (kind == "eps")
    assert model.dropout == dropout
    assert model.coefficients.shape == (20 + model.background, 4096)


def test_other_classes_than_the_datasets() -> None:
    with pytest.raises(UserError, match=r"^net\.pth has 21 maps; the dataset's 5 classes take 5 \(CAM\) or 6 \(EPS\)$"):
        load_eps_classifier(cheap_state("eps"), classes=list("abcde"), source="net.pth")
