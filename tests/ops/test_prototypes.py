import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from numpy.typing import NDArray

from eps.ops.prototypes import assemble


def naive(prototypes: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    batch, count, height, width = prototypes.shape
    out = np.zeros((batch, coefficients.shape[1], height, width))
    for b, m, k in np.ndindex(batch, coefficients.shape[1], count):
        out[b, m] += coefficients[b, m, k] * prototypes[b, k]
    return out


def inputs(shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=generator)
    shape = (3, 5) if shared else (2, 3, 5)
    return prototypes, torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("shared", [False, True])
def test_equals_the_sum(shared: bool) -> None:
    prototypes, coefficients = inputs(shared)
    expected = naive(prototypes.numpy(), coefficients.expand(2, 3, 5).numpy())
    np.testing.assert_allclose(assemble(prototypes, coefficients).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_shared_coefficients_equal_repeated_ones() -> None:
    prototypes, coefficients = inputs(shared=True)
    assert torch.equal(assemble(prototypes, coefficients), assemble(prototypes, coefficients.repeat(2, 1, 1)))


@pytest.mark.parametrize("shared", [False, True])
def test_order_of_prototypes_is_free(shared: bool) -> None:
    prototypes, coefficients = inputs(shared)
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = assemble(prototypes[:, order], coefficients[..., order])
    torch.testing.assert_close(permuted, assemble(prototypes, coefficients))


def test_batch_equals_singles() -> None:
    prototypes, coefficients = inputs(shared=False)
    singles = [assemble(prototypes[i : i + 1], coefficients[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(assemble(prototypes, coefficients), torch.cat(singles))


def test_memory_format_does_not_matter() -> None:
    prototypes, coefficients = inputs(shared=True)
    channels_last = prototypes.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(assemble(channels_last, coefficients), assemble(prototypes, coefficients))


@pytest.mark.parametrize("shape", [(2, 0, 5), (0, 5)])
def test_no_instance(shape: tuple[int, ...]) -> None:
    prototypes = torch.randn(2, 5, 3, 4, requires_grad=True)
    masks = assemble(prototypes, torch.zeros(shape))
    assert masks.shape == (2, 0, 3, 4)
    (gradient,) = torch.autograd.grad(masks.sum(), prototypes)
    assert not gradient.any()


def test_one_pixel_one_prototype() -> None:
    assert assemble(torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1), -2.0)).item() == -6.0


def test_wrong_number_of_coefficients() -> None:
    with pytest.raises(TypeCheckError):
        assemble(torch.zeros(1, 5, 2, 2), torch.zeros(3, 4))


@pytest.mark.parametrize("shared", [False, True])
def test_gradient(shared: bool) -> None:
    prototypes, coefficients = inputs(shared)
    assert torch.autograd.gradcheck(assemble, (prototypes.requires_grad_(), coefficients.requires_grad_()))
