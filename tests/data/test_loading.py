import pytest
import torch
from torch.utils.data import Dataset

from eps.data import loading
from eps.data.loading import load_batches
from eps.data.sampling import Draw, TrainingDraws
from eps.errors import UserError


class Numbers(Dataset[int]):
    def __init__(self, *, broken: int | None = None) -> None:
        self.broken = broken

    def __getitem__(self, draw: Draw) -> int:
        if draw.position == self.broken:
            raise UserError("photos/3.jpg cannot be read as an image: it is cut off")
        return 10 * draw.position + draw.seed % 7


def draws(start: int = 0) -> TrainingDraws:
    return TrainingDraws(photos=5, batch=2, steps=4, seed=1, start=start)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_draws(workers: int) -> None:
    made = list(load_batches(Numbers(), draws(start=1), join=tuple, workers=workers))
    assert made == [tuple(Numbers()[draw] for draw in batch) for batch in draws(start=1)]


@pytest.mark.parametrize("workers", [0, 1])
def test_error_is_one_line_whichever_process_it_comes_from(workers: int) -> None:
    with pytest.raises(UserError, match=r"^photos/3\.jpg cannot be read as an image: it is cut off$"):
        list(load_batches(Numbers(broken=3), draws(), join=list, workers=workers))


def test_too_little_shared_memory_is_told_before_workers_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two photos of a MiB a batch, of which three workers read two ahead each: 12 MiB."""

    class Photos(Dataset[torch.Tensor]):
        def __getitem__(self, draw: Draw) -> torch.Tensor:
            return torch.zeros(2**20, dtype=torch.uint8)

    monkeypatch.setattr(loading, "_free", lambda: 11 * 2**20)
    with pytest.raises(UserError, match=r"runtime\.workers=3: .* has 11 MiB left of about 12 .*--shm-size"):
        list(load_batches(Photos(), draws(), join=torch.stack, workers=3))
    assert len(list(load_batches(Photos(), draws(), join=torch.stack, workers=1))) == 4
    assert len(list(load_batches(Photos(), draws(), join=torch.stack, workers=0))) == 4
