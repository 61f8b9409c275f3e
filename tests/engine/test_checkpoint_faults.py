"""Checkpoints that are damaged, forged or of another kind: one line each, and nothing believed that they say."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from eps.engine.checkpoint import ResumeFile, load_classifier, save_model
from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.models.spec import ClassifierSpec, TrunkSpec, build_classifier, to_json


@pytest.fixture
def spec(trunk_spec: TrunkSpec) -> ClassifierSpec:
    return ClassifierSpec(trunk=trunk_spec, classes=("train", "boat"), background=True)


@pytest.fixture
def classifier(tmp_path: Path, spec: ClassifierSpec) -> tuple[Path, Classifier]:
    model = build_classifier(spec)
    save_model(tmp_path / "classifier.safetensors", model, spec)
    return tmp_path / "classifier.safetensors", model


def one_line_or_none(path: Path) -> None:
    """Loads, or is refused in one line."""
    try:
        load_classifier(path)
    except UserError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message


def test_weights_that_are_not_finite(classifier: tuple[Path, Classifier], spec: ClassifierSpec) -> None:
    path, model = classifier
    for value in (math.nan, -math.inf):
        with torch.no_grad():
            model.coefficients[0, 0] = value
        save_model(path, model, spec)
        with pytest.raises(UserError, match=r"^[^\n]*numbers that are not finite in coefficients: train anew[^\n]*$"):
            load_classifier(path)


@pytest.mark.parametrize(
    ("trunk", "reason"),
    [
        ({"head_channels": 10**7}, "does not fit: missing|does not fit: misshapen"),
        ({"fpn_channels": 10**15}, "is no network"),
        ({"fpn_channels": -1}, "is no network"),
        ({"prototypes": "many"}, "prototypes is not 'many'"),
        ({"std": [0.1, 0.2]}, "std is not"),
        ({"head_depth": 10**9}, "not a model description: a head has no 1000000000 layers"),
        ({"backbone": "hf-hub:somebody/else"}, "is not a timm model"),
        ({"frozen_stages": 99}, "has . stages"),
    ],
)
def test_a_description_is_not_believed(
    classifier: tuple[Path, Classifier], spec: ClassifierSpec, trunk: dict[str, Any], reason: str
) -> None:
    """Its sizes are compared with what the file holds before anything of them is allocated; nothing is fetched."""
    path, _ = classifier
    fields = json.loads(to_json(spec))
    fields["trunk"] |= trunk
    save_file(load_file(path), path, metadata={"eps.1": json.dumps(fields)})
    with pytest.raises(UserError, match=rf"^[^\n]*classifier\.safetensors[^\n]*({reason})[^\n]*$"):
        load_classifier(path)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzz(classifier: tuple[Path, Classifier], data: st.DataObject) -> None:
    """Bits that flip, cuts and insertions: a classifier, or one line."""
    path, _ = classifier
    whole = path.read_bytes()
    place = data.draw(st.integers(0, 1500) | st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 8))
    other = path.with_name("other.safetensors")
    other.write_bytes(whole[:place] + data.draw(st.binary(max_size=8)) + whole[place + cut :])
    one_line_or_none(other)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 99), value=VALUES, inside=st.booleans())
def test_fuzz_descriptions(
    classifier: tuple[Path, Classifier], spec: ClassifierSpec, place: int, value: object, inside: bool
) -> None:
    path, _ = classifier
    fields = json.loads(to_json(spec))
    changed = fields["trunk"] if inside else fields
    changed[sorted(changed)[place % len(changed)]] = value
    other = path.with_name("other.safetensors")
    save_file(load_file(path), other, metadata={"eps.1": json.dumps(fields)})
    one_line_or_none(other)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"fingerprint": "a"},
        {"fingerprint": "a", "step": 1, "history": [], "parts": {"model": {"weight": torch.zeros(5)}}},
        {"fingerprint": "a", "step": "x", "history": [], "parts": {}},
    ],
)
def test_resume_file_of_another_form(tmp_path: Path, content: Any) -> None:
    resume = ResumeFile(tmp_path / "resume.pt", fingerprint="a")
    torch.save(content, resume.path)
    with pytest.raises(UserError, match=r"^[^\n]*resume\.pt is not readable: remove it[^\n]*$"):
        resume.restore(model=nn.Linear(2, 2))
