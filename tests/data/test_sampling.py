import pytest

from eps.data.sampling import Draw, TrainingDraws


def draws(**changes: int) -> list[list[Draw]]:
    settings = {"photos": 7, "batch": 3, "steps": 10, "seed": 0}
    return list(TrainingDraws(**settings | changes))


def flat(batches: list[list[Draw]]) -> list[Draw]:
    return [draw for batch in batches for draw in batch]


def test_every_epoch_has_every_photo_once() -> None:
    positions = [draw.position for draw in flat(draws(steps=14))]
    epochs = [positions[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 4  # in another order each time


def test_every_draw_has_its_own_augmentation() -> None:
    seeds = [draw.seed for draw in flat(draws()) + flat(draws(seed=1))]
    assert len(set(seeds)) == len(seeds) == 60


@pytest.mark.parametrize("start", [0, 1, 4, 9, 10])
def test_resumed_run_sees_the_same(start: int) -> None:
    assert draws(start=start) == draws()[start:]
    assert len(TrainingDraws(photos=7, batch=3, steps=10, seed=0, start=start)) == 10 - start


def test_more_steps_begin_alike() -> None:
    assert draws(steps=20)[:10] == draws()


def test_seed_decides_the_order() -> None:
    assert draws() == draws()
    assert [d.position for d in flat(draws())] != [d.position for d in flat(draws(seed=1))]


@pytest.mark.parametrize(("photos", "batch"), [(1, 4), (3, 8), (8, 8)])
def test_batches_are_full_however_few_the_photos(photos: int, batch: int) -> None:
    made = draws(photos=photos, batch=batch)
    assert [len(one) for one in made] == [batch] * 10
    counts = [[d.position for d in flat(made)].count(p) for p in range(photos)]
    assert max(counts) - min(counts) <= 1


def test_it_may_be_run_through_twice() -> None:
    sampler = TrainingDraws(photos=7, batch=3, steps=10, seed=0)
    assert list(sampler) == list(sampler)
