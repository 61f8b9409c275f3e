import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from eps.data.cache import Record, SharedCache

MIB = 2**20


def record(position: int) -> Record:
    """One of everything: bytes, truth values whose number is no multiple of 8, numbers, and arrays without any."""
    generator = np.random.default_rng(position)
    return (
        generator.integers(0, 256, size=(5, 7, 3), dtype=np.uint8),
        generator.random((position, 5, 7)) < 0.5,
        generator.integers(-9, 9, size=position),
        np.zeros((0, 4), dtype=np.float32),
        np.array(position == 1),
    )


class Reader:
    """Says which positions were read."""

    def __init__(self, made: Callable[[int], Record] = record) -> None:
        self.made = made
        self.read: list[int] = []

    def __call__(self, position: int) -> Record:
        self.read.append(position)
        return self.made(position)


def same(found: Record, expected: Record) -> bool:
    return len(found) == len(expected) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(found, expected, strict=True)
    )


def test_what_was_read_comes_back_to_the_byte_and_is_not_read_again() -> None:
    cache, reader = SharedCache(records=4, megabytes=1), Reader()
    order = [2, 0, 2, 3, 1, 0, 3, 2]
    for position in order:
        assert same(cache.recall(position, reader), record(position))
    assert reader.read == [2, 0, 3, 1]


def test_what_comes_back_is_the_callers_own() -> None:
    cache = SharedCache(records=2, megabytes=1)
    for _ in range(3):
        for array in cache.recall(1, record):
            array[...] = 0
    assert same(cache.recall(1, record), record(1))


def test_a_full_cache_keeps_what_it_has_and_takes_what_still_fits() -> None:
    def made(position: int) -> Record:
        return (np.full(int(MIB * (0.7, 0.5, 0.2)[position]), position, dtype=np.uint8),)

    cache, reader = SharedCache(records=3, megabytes=1), Reader(made)
    for _ in range(3):
        for position in range(3):
            assert same(cache.recall(position, reader), made(position))
    assert reader.read == [0, 1, 2, 1, 1]


@pytest.mark.parametrize(("records", "megabytes"), [(3, 0), (MIB, 1)])
def test_without_room_everything_is_read(records: int, megabytes: int) -> None:
    cache, reader = SharedCache(records=records, megabytes=megabytes), Reader()
    for held in (cache, ForkingPickler.loads(ForkingPickler.dumps(cache))):
        for _ in range(2):
            assert same(held.recall(2, reader), record(2))
    assert reader.read == [2] * 4


def test_it_takes_no_memory_before_it_fills() -> None:
    cache = SharedCache(records=10, megabytes=2**20)  # a tebibyte
    assert same(cache.recall(0, record), record(0))
    assert os.fstat(cache._file).st_blocks * 512 < MIB


def test_a_file_stands_in_where_a_system_has_none_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    cache, reader = SharedCache(records=2, megabytes=1), Reader()
    assert all(same(cache.recall(1, reader), record(1)) for _ in range(2))
    assert reader.read == [1]


def test_it_gives_its_memory_back() -> None:
    cache = SharedCache(records=2, megabytes=1)
    place = Path(f"/proc/self/fd/{cache._file}")
    if not place.exists():
        pytest.skip("no /proc")
    held = os.readlink(place)
    del cache
    assert not place.exists() or os.readlink(place) != held


@pytest.mark.parametrize("start", multiprocessing.get_all_start_methods())
def test_processes_share_it_however_they_start(start: str) -> None:
    context = multiprocessing.get_context(start)
    cache, unread = SharedCache(records=9, megabytes=1), Reader()
    cache.recall(2, record)
    # numpy's own function, which a process that knows nothing of this file can call: of n two arrays 0..n - 1
    workers = [context.Process(target=cache.recall, args=(n, np.diag_indices)) for n in (2, 7)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert same(cache.recall(2, unread), record(2))
    assert same(cache.recall(7, unread), np.diag_indices(7))
    assert unread.read == []


def test_processes_that_fill_it_at_once_lose_nothing() -> None:
    """Each of four reads every record; whatever was quickest is kept, and only once."""
    cache, count = SharedCache(records=200, megabytes=8), 200
    workers = [multiprocessing.get_context("fork").Process(target=fill, args=(cache, count)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    unread = Reader()
    assert all(same(cache.recall(n, unread), (np.full(n, n),)) for n in range(count))
    assert unread.read == []
    kept = sum(len(np.full(n, n).tobytes()) for n in range(count))
    assert kept < int(cache._table[0]) < kept + 100 * count


def fill(cache: SharedCache, count: int) -> None:
    for n in range(count):
        cache.recall(n, lambda position: (np.full(position, position),))


def test_without_memory_for_it_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, size: int) -> None:
        raise OSError(27, "File too large")

    monkeypatch.setattr(os, "ftruncate", full)
    read = []
    cache = SharedCache(records=2, megabytes=1)
    for _ in range(2):
        cache.recall(1, lambda position: (read.append(position) or np.zeros(3),))  # type: ignore[func-returns-value]
    assert read == [1, 1]
