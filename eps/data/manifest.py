"""What a training or labelling step leaves beside its artifact: what made it, from what, how long, how good."""

import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from eps.data.artifacts import file_hash, read_json, replaced_folder, write_json

MANIFEST = "manifest.json"

SCORES = "scores/"
"""Files under it are many and large: they are known by their size alone."""


class Recorder:
    """One artifact folder in the making: whether it is there already, its atomic writing, its manifest.

    `fingerprint` names everything that the artifact depends on; the clock runs from construction.
    """

    def __init__(self, folder: Path, *, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._began = time.monotonic()

    @property
    def resume_path(self) -> Path:
        """Where an unfinished training run keeps its state; gone once the artifact is there."""
        return self.folder.with_name(f"{self.folder.name}.resume.pt")

    def finished(self) -> float | None:
        """The score of an earlier run with the same fingerprint, if all its files are there; nan where it had none."""
        manifest = recorded(self.folder)
        if manifest.get("fingerprint") != self.fingerprint or not intact(self.folder):
            return None
        score: float | None = manifest["score"]
        return math.nan if score is None else score

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A folder to write to, which takes the artifact's place only when all is written."""
        with replaced_folder(self.folder) as target:
            yield target
        self.resume_path.unlink(missing_ok=True)

    def record(self, target: Path, *, score: float, config: dict[str, Any], **facts: Any) -> None:
        """Write the manifest into `target`, which lists all other files and so has to come last.

        What differs from run to run stands in `run.json` beside it.
        """
        files = {path.relative_to(target).as_posix(): path for path in target.rglob("*") if path.is_file()}
        content = {
            "version": version("eps-seg"),
            "fingerprint": self.fingerprint,
            "config": config,
            "files": {name: _facts(name, path) for name, path in files.items()},
            **facts,
        }
        write_json(target / MANIFEST, {**content, "score": score if math.isfinite(score) else None})
        seconds = round(time.monotonic() - self._began, 2)
        machine = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
        write_json(target / "run.json", {"seconds": seconds, **machine})


def recorded(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact; empty where there is none."""
    path = folder / MANIFEST
    manifest: dict[str, Any] = read_json(path) if path.is_file() else {}
    return manifest


def intact(folder: Path, *, under: str = "") -> bool:
    """Whether the manifest lists files whose names begin with `under`, and these still are what it says."""
    files = recorded(folder).get("files", {})
    listed = {name: facts for name, facts in files.items() if name.startswith(under)}
    return bool(listed) and all(_is(folder / name, name, facts) for name, facts in listed.items())


def _is(path: Path, name: str, facts: dict[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == facts["size"] and _facts(name, path) == facts


def _facts(name: str, path: Path) -> dict[str, Any]:
    size = {"size": path.stat().st_size}
    return size if name.startswith(SCORES) else {**size, "sha256": file_hash(path)}
