import pytest

from eps.data.sampling import Division, Draw, TrainingDraws, sample


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


def test_a_sample_of_photos() -> None:
    ids = [f"p{number}" for number in range(50)]
    assert sample(ids, most=0, seed=None) == ids
    assert sample(ids, most=3, seed=None) == ids[:3]
    assert sample(ids, most=90, seed=None) == ids
    drawn = sample(ids, most=20, seed=1)
    assert drawn == sample(ids, most=0, seed=1)[:20]
    assert len(set(drawn)) == 20
    assert set(drawn) < set(ids)
    assert drawn != sample(ids, most=20, seed=2)
    assert sorted(sample(ids, most=0, seed=1)) == sorted(ids)
    assert sample([], most=3, seed=1) == []


@pytest.mark.parametrize(("ranks", "parts"), [(1, 4), (2, 1), (4, 2), (2, 3)])
@pytest.mark.parametrize("start", [0, 3])
def test_a_divided_batch_is_the_same_batch(ranks: int, parts: int, start: int) -> None:
    """The processes' parts one behind the other, whichever way it is divided."""
    settings = {"photos": 7, "batch": 24, "steps": 5, "seed": 0, "start": start}
    own = [TrainingDraws(**settings, division=Division(rank=rank, ranks=ranks, parts=parts)) for rank in range(ranks)]
    shares = [list(one) for one in own]
    assert [len(one) for one in own] == [len(share) for share in shares] == [(5 - start) * parts] * ranks
    for step, whole in enumerate(TrainingDraws(**settings)):
        together = [share[step * parts : (step + 1) * parts] for share in shares]
        assert flat([part for one in together for part in one]) == whole
        assert {len(part) for one in together for part in one} == {24 // ranks // parts}
