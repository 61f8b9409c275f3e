"""MATLAB files, read by a process of its own: scipy's reader trusts what they say, and a damaged one can end it."""

import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from threading import Lock, Timer
from typing import Any, Final

import numpy as np

from eps.errors import UserError

SECONDS: Final = 20.0
"""A file takes milliseconds."""
_CHILD: Final = Path(__file__).with_name("mat_child.py")


def read_field(path: Path, variable: str, field: str) -> Any:
    """The numbers in a field of a struct, as an array. Raises `UserError` where the file is missing or has none."""
    if not path.is_file():
        raise UserError(f"{path} is missing")
    reader = _readers.setdefault(os.getpid(), _Reader())  # a forked process needs one of its own
    try:
        return reader.ask(path, variable, field)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is no file of MATLAB's with {variable}.{field}: {error}") from error


class _Reader:
    """The other process: started when it is needed, and again when a file has ended it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, path: Path, variable: str, field: str) -> Any:
        """The array. Raises `ValueError` with the reason where there is none."""
        with self._lock:
            process = self._process or self._start()
            timer = Timer(SECONDS, process.kill)
            timer.daemon = True
            timer.start()
            try:
                head, content = _exchange(process, [str(path.resolve()), variable, field])
            except (OSError, ValueError):
                self._process = None
                self._end()
                raise ValueError(f"its reader ended with {process.returncode} on it: the file is damaged") from None
            finally:
                timer.cancel()
        if "error" in head:
            raise ValueError(head["error"])
        return np.frombuffer(content, dtype=head["dtype"]).reshape(head["shape"])

    def _start(self) -> subprocess.Popen[bytes]:
        process = self._process = _started()
        self._end = weakref.finalize(self, _end, process, os.getpid())
        return process


def _started() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:  # a forked process has inherited it
        process.kill()
        with process:
            pass


def _exchange(process: subprocess.Popen[bytes], request: list[str]) -> tuple[dict[str, Any], bytes]:
    """Raises `OSError` or `ValueError` where the other side ends before it has answered."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    head = json.loads(process.stdout.readline())
    content = process.stdout.read(head["bytes"])
    if len(content) != head["bytes"]:
        raise ValueError("half an answer")
    return head, content


_readers: dict[int, _Reader] = {}
