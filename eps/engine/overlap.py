"""Steps of a pipeline that run at the same time, each in a thread of its own."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE = 0.05
"""Seconds between looks at whether anyone still wants what is made."""


def ahead(items: Iterable[Item], *, depth: int = 2) -> Iterator[Item]:
    """The same items in the same order, made in a thread that is at most `depth` of them ahead.

    What making them raises is raised here, at its place. Who stops early stops the thread, too.
    """
    producer = _Producer(items, depth=depth)
    producer.start()
    try:
        while (entry := producer.made.get()) is not None:
            if isinstance(entry, _Failure):
                raise entry.error
            yield entry.item
    finally:
        producer.stopped.set()
        producer.join(timeout=10)  # a camera that gives no more pictures must not hold up the end


class _Made(Generic[Item]):
    def __init__(self, item: Item) -> None:
        self.item = item


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Producer(Thread, Generic[Item]):
    def __init__(self, items: Iterable[Item], *, depth: int) -> None:
        super().__init__(daemon=True)
        self.items: Iterable[Item] | None = items
        self.made: Queue[_Made[Item] | _Failure | None] = Queue(depth)
        self.stopped = Event()

    def run(self) -> None:
        try:
            for item in self.items or ():
                self._put(_Made(item))
                if self.stopped.is_set():
                    break
            self._put(None)
        except BaseException as error:
            self._put(_Failure(error))
        finally:
            self.items = None  # the last reference: generators behind it, and their threads, end now

    def _put(self, entry: _Made[Item] | _Failure | None) -> None:
        while not self.stopped.is_set():
            with suppress(Full):
                return self.made.put(entry, timeout=_PATIENCE)
