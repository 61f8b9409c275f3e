import pytest
import torch
from torch import Tensor, nn

from eps.engine import memory
from eps.engine.memory import allowed, free_gib, localization_memory, peak_bytes, training_memory

MIB = 2**20


def test_peak_is_of_what_is_alive_at_once() -> None:
    def once() -> None:
        first = torch.zeros(MIB // 4)
        second = first + 1  # two of them
        del first
        third = second.view(2, -1)  # no memory of its own
        fourth = third + 1
        assert len(fourth) == 2

    def thrice() -> None:
        for _ in range(3):
            once()

    assert peak_bytes(thrice) == 2 * MIB


def test_peak_is_the_same_without_content() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3))

    def peak(device: str) -> int:
        own = network.to(device)
        own.zero_grad(set_to_none=True)
        photos = torch.zeros((2, 3, 32, 40), device=device)
        return peak_bytes(lambda: own(photos).sum().backward())

    real = peak("cpu")
    assert peak("meta") == pytest.approx(real, rel=0.15)  # workspaces differ
    assert real > 2 * 8 * 32 * 40 * 4


class Maps(nn.Module):
    """A network of which every activation is known: class maps of the photo's size."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.layer(images)
        return made

    def localization(self, images: Tensor, *, size: tuple[int, int]) -> Tensor:
        return torch.nn.functional.interpolate(self.layer(images), size=size)


def test_training_grows_with_photos_and_falls_with_precision() -> None:
    model = Maps()
    whole = training_memory(model, size=(64, 64), optimizer_states=1, half=False)
    assert whole is not None
    weights = (3 * 5 + 5) * 4
    assert whole.fixed == weights * 3
    plane = 64 * 64 * 4
    assert 5 * plane <= whole.per_photo <= 20 * plane  # the maps, and their gradients
    assert whole.of(4) == pytest.approx(1.2 * (whole.fixed + 4 * whole.per_photo) / 2**30)
    larger = training_memory(model, size=(128, 64), optimizer_states=2, half=False)
    assert larger is not None
    assert larger.per_photo == pytest.approx(2 * whole.per_photo, rel=0.01)
    assert larger.fixed == weights * 4
    deep = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(20)))
    full, half = (training_memory(deep, size=(64, 64), optimizer_states=1, half=half) for half in (False, True))
    assert full is not None
    assert half is not None
    assert half.per_photo < 0.7 * full.per_photo
    assert next(model.parameters()).device.type == "cpu"
    assert next(model.parameters()).dtype == torch.float32
    assert next(model.parameters()).grad is None


def test_localization_grows_with_area_and_scale() -> None:
    model = Maps()
    found = {
        (side, scale): localization_memory(model, size=(side, side), scale=scale, flip=False)
        for side in (64, 128)
        for scale in (1.0, 2.0)
    }
    assert found[64, 1.0] < found[64, 2.0] < found[128, 2.0]
    assert found[128, 1.0] >= 3 * 5 * 128 * 128 * 4 / 2**30


def test_what_the_meta_device_cannot_run_is_not_estimated() -> None:
    class Asking(Maps):
        def forward(self, images: Tensor) -> Tensor:
            made: Tensor = self.layer(images)
            return made[made > made.mean()]

    assert training_memory(Asking(), size=(8, 8), optimizer_states=1, half=False) is None


def test_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    assert 0 < free_gib(device) < 100_000
    monkeypatch.setattr(memory, "_left_in_container", lambda: 3 * 2**30)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: type("", (), {"available": 4 * 2**30}))
    assert free_gib(device) == 3
    assert (allowed(0.0, device), allowed(7.5, device)) == (3, 7.5)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert free_gib(device) == 1.5
