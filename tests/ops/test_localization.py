import numpy as np
import pytest
import torch

from eps.ops.localization import activate, best_labels, localization_maps, normalize_maps


def test_softmax_without_the_background() -> None:
    maps = torch.randn(2, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = np.exp(maps.numpy()) / np.exp(maps.numpy()).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(activate(maps, background=True).numpy(), expected[:, :3], rtol=1e-12)


def test_relu_keeps_every_map() -> None:
    maps = torch.tensor([-1.0, 2.0]).view(1, 2, 1, 1)
    assert activate(maps, background=False).flatten().tolist() == [0.0, 2.0]


def test_background_alone_leaves_no_map() -> None:
    assert activate(torch.zeros(1, 1, 2, 2), background=True).shape == (1, 0, 2, 2)


@pytest.mark.parametrize("background", [False, True])
def test_activation_of_flipped_maps_is_flipped(background: bool) -> None:
    maps = torch.randn(1, 3, 2, 5, generator=torch.Generator().manual_seed(1))
    flipped = activate(maps.flip(3), background=background)
    torch.testing.assert_close(flipped, activate(maps, background=background).flip(3))


def test_normalized_maps_equal_loops() -> None:
    maps = torch.rand(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 7
    labels = [1.0, 0.0, 1.0]
    expected = np.zeros((3, 4, 5))
    for c, y, x in np.ndindex(3, 4, 5):
        expected[c, y, x] = labels[c] * float(maps[c, y, x]) / (max(maps[c].flatten().tolist()) + 1e-5)
    np.testing.assert_allclose(normalize_maps(maps, torch.tensor(labels)).numpy(), expected, rtol=1e-12)


def test_scale_of_a_map_hardly_matters() -> None:
    maps = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(3)) + 1
    labels = torch.ones(2, dtype=torch.bool)
    scale = torch.tensor([3.0, 50.0])[:, None, None]
    torch.testing.assert_close(normalize_maps(maps * scale, labels), normalize_maps(maps, labels), atol=1e-5, rtol=0)


def test_blank_and_absent_maps_are_zero() -> None:
    maps = torch.stack([torch.zeros(2, 2), torch.ones(2, 2)])
    assert not normalize_maps(maps, torch.tensor([1, 0])).any()


def test_no_class() -> None:
    assert normalize_maps(torch.zeros(0, 2, 3), torch.zeros(0)).shape == (0, 2, 3)


def test_localization_maps_are_activated_before_they_are_enlarged() -> None:
    maps = torch.tensor([[[[4.0, -4.0]]]])
    found = localization_maps(maps, background=False, size=(1, 4))
    torch.testing.assert_close(found, torch.tensor([[[[4.0, 3.0, 1.0, 0.0]]]]))
    both = localization_maps(torch.cat([maps, torch.zeros_like(maps)], dim=1), background=True, size=(1, 4))
    high, low = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))
    expected = [high, 0.75 * high + 0.25 * low, 0.25 * high + 0.75 * low, low]
    np.testing.assert_allclose(both.flatten().numpy(), expected, rtol=1e-6)


def test_labels_are_chosen_after_the_maps_are_enlarged() -> None:
    """Bilinearly at 0, 1/8, 3/8, ... of the way: the background's 0.5 is beaten where the class's map is above it."""
    maps = torch.stack([torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2), torch.full((1, 2), 0.5)])[None]
    assert best_labels(maps, size=(1, 8)).tolist() == [[[1, 1, 1, 1, 1, 0, 0, 0]]]
    assert best_labels(maps, size=(1, 8)).dtype == torch.uint8
    assert best_labels(torch.zeros(2, 1, 3, 3), size=(5, 5)).sum() == 0  # background alone
