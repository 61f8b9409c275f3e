"""What files hold, decoded once and kept in memory for all processes that load photos."""

import fcntl
import json
import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

Record = tuple[np.ndarray, ...]

_NUMBER = np.dtype(np.int64)


class SharedCache:
    """Records of arrays by position, read once and then kept in memory until `megabytes` (MiB) are full.

    What no longer fits is read anew each time. Worker processes share what is kept, however they start: forked ones
    inherit the memory, others are sent its file descriptor. It is taken as it fills, not before. Records come back to
    the byte, as copies that the caller may change. 0 keeps nothing.
    """

    def __init__(self, *, records: int, megabytes: int) -> None:
        size, table = megabytes * 2**20, (1 + records) * _NUMBER.itemsize
        self._records = 0
        if size <= table:
            return
        try:
            file = _memory_file(size)
        except OSError:  # a limit on the size of files, say: then there is no cache
            return
        self._attach(file, records=records, size=size)
        self._table[0] = table  # where the next record goes; then where each lies, 0 for those that are not kept

    def recall(self, position: int, read: Callable[[int], Record]) -> Record:
        """The record at a position, which `read` makes of it where it is not kept."""
        if not self._records:
            return read(position)
        if start := int(self._table[1 + position]):
            return self._kept(start)
        record = read(position)
        self._keep(position, _packed(record))
        return record

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._records:
            return _detached, ()
        return _attached, (DupFd(self._file), self._records, self._size)

    def _attach(self, file: int, *, records: int, size: int) -> None:
        self._file, self._records, self._size = file, records, size
        weakref.finalize(self, os.close, file)
        self._memory = mmap.mmap(file, size)  # shared with whoever maps this file
        self._table = np.frombuffer(self._memory, _NUMBER, 1 + records)

    def _keep(self, position: int, packed: bytes) -> None:
        with self._alone():
            start = int(self._table[0])
            end = start + len(packed)
            if self._table[1 + position] or end > self._size:  # another process was quicker, or it is full
                return
            self._memory[start:end] = packed
            self._table[0] = end
            self._table[1 + position] = start  # last: whoever sees it finds the record complete

    def _kept(self, start: int) -> Record:
        memory, length = self._memory, _NUMBER.itemsize
        begin = start + length + int.from_bytes(memory[start : start + length], "little")
        made: list[np.ndarray] = []
        for name, shape in json.loads(memory[start + length : begin]):
            kind, count = np.dtype(name), math.prod(shape)
            if kind.kind == "b":
                stored = np.frombuffer(memory, np.uint8, -(-count // 8), begin)
                array = np.unpackbits(stored, count=count).view(bool)
            else:
                stored = np.frombuffer(memory, kind, count, begin)
                array = stored.copy()
            made.append(array.reshape(shape))
            begin += stored.nbytes
        return tuple(made)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold a lock that no other process has, and that the system takes back from one that dies."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _memory_file(size: int) -> int:
    """The descriptor of a file of zeros that no folder has: in memory, or where a system has none such, on the disk."""
    if hasattr(os, "memfd_create"):  # unlike /dev/shm it is as large as memory, in a container too
        file = os.memfd_create("eps")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    try:
        os.ftruncate(file, size)
    except OSError:
        os.close(file)
        raise
    return file


def _packed(record: Record) -> bytes:
    """Types and shapes, with the length of that, and what the arrays hold; truth values as bits."""
    head = json.dumps([[array.dtype.str, array.shape] for array in record]).encode()
    contents = ((np.packbits(array) if array.dtype == bool else array).tobytes() for array in record)
    return b"".join([len(head).to_bytes(_NUMBER.itemsize, "little"), head, *contents])


def _attached(file: Any, records: int, size: int) -> SharedCache:
    made = SharedCache.__new__(SharedCache)
    made._attach(file.detach(), records=records, size=size)
    return made


def _detached() -> SharedCache:
    return SharedCache(records=0, megabytes=0)
