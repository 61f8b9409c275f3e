import threading
import time
from collections.abc import Iterator
from itertools import count, islice

import pytest

from eps.engine.overlap import ahead


def test_the_same_items_in_order() -> None:
    assert list(ahead(range(100), depth=3)) == list(range(100))
    assert list(ahead([])) == []
    assert list(ahead(ahead(number * 2 for number in ahead(range(20))), depth=1)) == list(range(0, 40, 2))
    assert list(ahead([None, 1])) == [None, 1]


def test_it_runs_ahead_but_not_too_far() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in count():
            made.append(number)
            yield number

    items = ahead(numbers(), depth=2)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(made) == 4  # one taken, two waiting, one in hand
    items.close()


def test_steps_overlap() -> None:
    """Two steps wait for one another: one after the other neither would ever go on."""
    first, second = threading.Event(), threading.Event()

    def make() -> Iterator[int]:
        yield 0
        assert first.wait(timeout=5)
        second.set()
        yield 1

    for item in ahead(make()):
        if item == 0:
            first.set()
            assert second.wait(timeout=5)


def test_an_error_comes_at_its_place() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(KeyError, match="two"):
        next(items)


def test_who_stops_early_stops_the_threads() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            yield from count()
        finally:
            closed.set()

    before = threading.active_count()
    chain = ahead(number + 1 for number in ahead(endless()))
    assert list(islice(chain, 3)) == [1, 2, 3]
    chain.close()
    assert closed.wait(timeout=5)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
