import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eps.engine import forms
from eps.engine.forms import Form, QuickClassifier, allowed_forms, in_form, quickest
from eps.errors import UserError
from eps.models.classifier import Classifier
from eps.models.segmenter import Segmenter
from eps.models.spec import (
    ClassifierSpec,
    DeepLabSpec,
    SegmenterSpec,
    TrunkSpec,
    build_classifier,
    build_deeplab,
    build_segmenter,
)


@pytest.fixture(scope="module")
def segmenter(segmenter_spec: SegmenterSpec) -> Segmenter:
    torch.manual_seed(0)
    return shaken(build_segmenter(segmenter_spec))


@pytest.fixture(scope="module")
def classifier(trunk_spec: TrunkSpec) -> Classifier:
    torch.manual_seed(0)
    return shaken(build_classifier(ClassifierSpec(trunk=trunk_spec, classes=("a", "b", "c"), background=True)))


def shaken(network: Any) -> Any:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def photos(height: int = 72, width: int = 56) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def near(ours: Any, theirs: Any, share: float) -> None:
    """Every output within a share of the largest value of its kind."""
    for name, one, other in zip(theirs._fields, ours, theirs, strict=True):
        if other is None:  # tags, without a tag head
            assert one is None
            continue
        assert one.dtype == torch.float32, name
        torch.testing.assert_close(one, other, rtol=0, atol=share * float(other.abs().max()))


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1e-5), ("bf16", 0.05)])
@pytest.mark.parametrize("size", [(72, 56), (65, 97)])
def test_a_form_gives_the_same(segmenter: Segmenter, precision: Any, share: float, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        near(in_form(segmenter, Form(precision))(photos(*size)), segmenter(photos(*size)), share)
    assert next(segmenter.parameters()).dtype == torch.float32


def test_bf16_is_not_fp32(segmenter: Segmenter) -> None:
    with torch.inference_mode():
        ours, theirs = in_form(segmenter, Form("bf16"))(photos()), segmenter(photos())
    assert not torch.allclose(ours.logits, theirs.logits, rtol=1e-6, atol=1e-6)


def test_norms_that_are_left_keep_32_bits() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1)).eval()
    network[0].running_mean.fill_(1001.0)  # in bfloat16 1000
    given = photos() + 1001.0
    ours = in_form(network, Form("bf16"))(given)
    torch.testing.assert_close(ours, network(given.bfloat16().float()), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("backbone", [pytest.param("resnet50", marks=pytest.mark.slow), "trunk"])
def test_deeplab(backbone: str, trunk_spec: TrunkSpec) -> None:
    on = replace(trunk_spec, head="identity", output_stride=8) if backbone == "trunk" else None
    spec = DeepLabSpec(
        backbone=backbone,
        classes=("a",),
        frozen_norm=False,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        trunk=on,
    )
    network = build_deeplab(spec).eval()
    with torch.inference_mode():
        near(in_form(network, Form())(photos(33, 41)), network(photos(33, 41)), 1e-4)


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_a_quick_classifier_localizes_the_same(classifier: Classifier, precision: Any, share: float) -> None:
    quick = QuickClassifier(classifier, Form(precision))
    with torch.inference_mode():
        given = classifier.normalize(photos(40, 50))
        assert torch.equal(quick.normalize(photos(40, 50)), given)
        theirs = classifier.localization(given, size=(33, 77))
        torch.testing.assert_close(quick.localization(given, size=(33, 77)), theirs, rtol=0, atol=share)
        some = quick.localization(given, size=(33, 77), classes=[2, 0])
        torch.testing.assert_close(some, theirs[:, [2, 0]], rtol=0, atol=share)


def test_what_a_form_allows() -> None:
    assert allowed_forms(Form()) == [Form()]
    assert allowed_forms(Form("bf16")) == [Form("bf16"), Form()]
    both = {Form("fp16", True), Form("fp16"), Form("fp32", True), Form()}
    assert set(allowed_forms(Form("fp16", compiled=True))) == both


def test_the_quickest_is_taken(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds by form; one with infinite seconds is one whose output is not finite."""
    told: list[str] = []
    made = {form: partial(segmenter) for form in allowed_forms(Form("bf16"))}
    names = {forward: form.precision for form, forward in made.items()}
    monkeypatch.setattr(forms, "in_form", lambda network, form: made[form])
    monkeypatch.setattr(forms, "remark", told.append)
    for seconds, best in (({"fp32": 2.0, "bf16": 1.0}, "bf16"), ({"fp32": 2.0, "bf16": float("inf")}, "fp32")):
        monkeypatch.setattr(forms, "_seconds", lambda forward, images, seconds=seconds: seconds[names[forward]])
        assert quickest(segmenter, Form("bf16"), photos()) is made[Form(best)]
        assert told.pop().startswith(f"network in {best}: ")
    assert quickest(segmenter, Form(), photos()) is made[Form()]
    assert not told


def test_what_is_not_finite_is_out() -> None:
    assert forms._seconds(lambda images: (images, images / 0), photos()) == float("inf")
    assert 0 < forms._seconds(lambda images: (images, images.long()), photos()) < 10


def test_fp16_on_a_cpu(segmenter: Segmenter) -> None:
    with pytest.raises(UserError, match=r"runtime\.precision=fp16: a CPU"):
        in_form(segmenter, Form("fp16"))


def test_a_compiler_that_fails(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def broken(network: Callable[..., Any]) -> Callable[..., Any]:
        def run(images: Tensor) -> Any:
            raise RuntimeError("no C compiler\nand more")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(forms, "remark", told.append)
    forward = in_form(segmenter, Form(compiled=True))
    with torch.inference_mode():
        for _ in range(2):
            near(forward(photos()), segmenter(photos()), 1e-5)
    [line] = told
    assert line == "runtime.compile: the network runs as it is, torch.compile failed: no C compiler"


@pytest.mark.slow
def test_compiled() -> None:
    network = shaken(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    forward = in_form(network, Form(compiled=True))
    with torch.inference_mode():
        for size in ((72, 56), (64, 64)):
            torch.testing.assert_close(forward(photos(*size)), network(photos(*size)), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_gpu(segmenter: Segmenter, precision: Any) -> None:
    there = copy.deepcopy(segmenter).cuda()
    with torch.inference_mode():
        near(in_form(there, Form(precision))(photos().cuda()), there(photos().cuda()), 0.05)
