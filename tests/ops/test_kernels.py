"""The fused kernels against the plain forms: in Triton's interpreter on a CPU, natively where there is a GPU."""

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from eps.ops.localization import best_labels, localization_maps
from eps.ops.masks import instance_masks

triton = pytest.importorskip("triton", reason="Triton is for Linux alone")


@dataclass(frozen=True)
class Kernels:
    """The module, and the device that its kernels run on."""

    module: Any
    device: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def fresh() -> ModuleType:
    """The module once more: a kernel is interpreted, or not, from its definition on."""
    found = importlib.util.find_spec("eps.ops.kernels")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(params=["interpreter", "cuda"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernels]:
    if request.param == "interpreter":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        yield Kernels(fresh(), "cpu")
    elif torch.cuda.is_available():
        yield Kernels(fresh(), "cuda")
    else:
        pytest.skip("no GPU")


def boxes(count: int, seed: int = 0) -> torch.Tensor:
    points = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * 1.4 - 0.2
    return torch.cat([points.amin(1), points.amax(1)], dim=1)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SIZES = [((13, 17), (45, 61)), ((9, 5), (9, 5)), ((33, 40), (10, 7)), ((1, 1), (3, 2)), ((20, 30), (40, 150))]


@pytest.mark.parametrize(("planes", "size"), SIZES)
def test_masks(kernels: Kernels, planes: tuple[int, int], size: tuple[int, int]) -> None:
    prototypes, coefficients, where = random(4, *planes), random(8, 4, seed=1), boxes(8)
    where[:2] = torch.tensor([[0.0, 0.1, 0.9, 1.1], [0.5, 0.5, 0.5, 0.5]])
    expected = instance_masks(prototypes, coefficients, where, size=size)
    assert expected.any()
    found = kernels.fused_masks(*(t.to(kernels.device) for t in (prototypes, coefficients, where)), size=size)
    assert found.dtype == torch.bool
    assert (found.cpu() != expected).float().mean() <= 1e-4


def test_masks_of_half_precision_and_channels_last(kernels: Kernels) -> None:
    prototypes, coefficients, where = random(6, 12, 15).bfloat16(), random(3, 6, seed=1).bfloat16(), boxes(3)
    last = prototypes[None].contiguous(memory_format=torch.channels_last)[0]
    expected = instance_masks(prototypes.float(), coefficients.float(), where, size=(30, 41))
    found = kernels.fused_masks(*(t.to(kernels.device) for t in (last, coefficients, where)), size=(30, 41))
    assert (found.cpu() != expected).float().mean() <= 1e-4


def test_no_mask(kernels: Kernels) -> None:
    empty = (random(4, 5, 6), random(0, 4), boxes(0))
    assert kernels.fused_masks(*(t.to(kernels.device) for t in empty), size=(7, 8)).shape == (0, 7, 8)


@pytest.mark.parametrize(("planes", "size"), SIZES)
def test_labels(kernels: Kernels, planes: tuple[int, int], size: tuple[int, int]) -> None:
    maps = random(2, 5, *planes)
    found = kernels.fused_labels(maps.to(kernels.device), size=size)
    assert found.dtype == torch.uint8
    assert torch.equal(found.cpu(), best_labels(maps, size=size))


def test_the_first_of_equal_labels_wins(kernels: Kernels) -> None:
    assert (kernels.fused_labels(torch.zeros(1, 3, 4, 4, device=kernels.device), size=(9, 9)) == 1).all()


@pytest.mark.parametrize(("planes", "size"), SIZES)
def test_shares(kernels: Kernels, planes: tuple[int, int], size: tuple[int, int]) -> None:
    maps = random(2, 5, *planes) * 30
    found = kernels.fused_shares(maps.to(kernels.device), size=size)
    expected = localization_maps(maps, background=True, size=size)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)


def test_background_alone_has_no_share(kernels: Kernels) -> None:
    assert kernels.fused_shares(torch.zeros(2, 1, 4, 4, device=kernels.device), size=(9, 9)).shape == (2, 0, 9, 9)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    ("kernel", "read", "write"), [("masks", 3, "*u8"), ("labels", 1, "*u8"), ("shares", 1, "*fp32")]
)
def test_kernels_compile_for_gpus_that_are_not_here(
    kernel: str, read: int, write: str, capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    module = fresh()
    function = getattr(module, f"_{kernel}_kernel")
    sizes = module._tiling((138, 138), (480, 640)).options()
    fixed = {name: value for name, value in sizes.items() if name.isupper()}
    whole = len(function.arg_names) - read - 1 - len(fixed) - 2 - (kernel == "masks")
    kinds = ["*fp32"] * read + [write] + ["i32"] * whole + ["fp32"] * (2 + (kernel == "masks")) + ["constexpr"] * 4
    signature = dict(zip(function.arg_names, kinds, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = triton.compile(
            ASTSource(fn=function, signature=signature, constexprs=fixed),
            target=GPUTarget("cuda", capability, 32),
            options={"enable_fp_fusion": True},
        )
    assert made.asm["cubin"]
