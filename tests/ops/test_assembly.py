"""Which way is taken on which device; that all ways agree, the tests of `mask_windows` and `kernels` show."""

import warnings

import pytest
import torch

from eps.ops import assembly
from eps.ops.localization import best_labels, localization_maps
from eps.ops.masks import instance_masks

GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "_trouble", [])


def refuse() -> str:
    raise RuntimeError("no C compiler\nfound")


def absent() -> str:
    raise ImportError("no Triton")


def test_a_cpu_and_others_never_try_the_kernels() -> None:
    assert assembly._either(refuse, lambda: "plain", CPU) == "plain"
    assert assembly._either(refuse, lambda: "plain", torch.device("mps")) == "plain"


def test_a_gpu_takes_the_kernel() -> None:
    assert assembly._either(lambda: "fused", refuse, GPU) == "fused"


def test_a_failed_kernel_is_told_once_and_not_tried_again() -> None:
    with pytest.warns(RuntimeWarning, match="plain torch instead, slower: no C compiler found"):
        assert assembly._either(refuse, lambda: "plain", GPU) == "plain"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert assembly._either(lambda: "fused", lambda: "plain", GPU) == "plain"


def test_without_triton_nothing_is_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert assembly._either(absent, lambda: "plain", GPU) == "plain"


def test_too_little_memory_is_no_fault_of_the_kernel() -> None:
    def full() -> str:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        assembly._either(full, lambda: "plain", GPU)
    assert assembly._either(lambda: "fused", lambda: "plain", GPU) == "fused"


@pytest.mark.parametrize(
    "device", [CPU, pytest.param(GPU, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
def test_results(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    prototypes, maps = torch.randn(4, 9, 11, generator=generator), torch.randn(2, 3, 9, 11, generator=generator)
    coefficients, boxes = torch.randn(5, 4, generator=generator), torch.tensor([[0.1, 0.2, 0.8, 0.9]]).repeat(5, 1)
    size = (31, 40)
    masks = assembly.photo_masks(*(t.to(device) for t in (prototypes, coefficients, boxes)), size=size)
    assert torch.equal(masks.cpu(), instance_masks(prototypes, coefficients, boxes, size=size))
    assert torch.equal(assembly.photo_labels(maps.to(device), size=size).cpu(), best_labels(maps, size=size))
    for background in (False, True):
        found = assembly.photo_localization(maps.to(device), background=background, size=size)
        torch.testing.assert_close(found.cpu(), localization_maps(maps, background=background, size=size))
    assert not assembly._trouble
