"""What a training or labelling step leaves beside its artifact: what made it, from what, how long, how good."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from eps.data.artifacts import file_hash, fingerprint_of, read_json, write_json
from eps.data.atomic import put_back, replaced_folder
from eps.data.files import is_safe, names_below
from eps.data.provenance import provenance
from eps.errors import UserError

MANIFEST = "manifest.json"
RUN = "run.json"
"""Beside it: how long it took, and what was typed to make it."""
_SEAL = "seal"

CLASSIFIER, SEGMENTER = "classifier/model.safetensors", "segmenter/model.safetensors"
"""In a run; as an input of what is made from it."""

SCORES = "scores/"
"""Files under it are many and large: they are known by their size alone."""


class Recorder:
    """One artifact folder in the making: whether it is there already, its atomic writing, its manifest.

    `fingerprint` names everything that the artifact depends on; the clock runs from construction.
    """

    def __init__(self, folder: Path, *, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._began = time.monotonic()
        put_back(folder)

    @property
    def resume_path(self) -> Path:
        """Where an unfinished training run keeps its state; gone once the artifact is there."""
        return self.folder.with_name(f"{self.folder.name}.resume.pt")

    def finished(self) -> float | None:
        """The score of an earlier run with the same fingerprint, if all its files are there; nan where it had none."""
        manifest = recorded(self.folder)
        if manifest.get("fingerprint") != self.fingerprint or not intact(self.folder):
            return None
        score = manifest.get("score", "")
        if score is None:
            return math.nan
        return float(score) if type(score) in (int, float) else None  # else somebody has edited it: made anew

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A folder to write to, which takes the artifact's place only when all is written."""
        with replaced_folder(self.folder) as target:
            yield target
        self.resume_path.unlink(missing_ok=True)

    def record(
        self,
        target: Path,
        *,
        score: float,
        config: Mapping[str, Any],
        inputs: Mapping[str, str | None] = MappingProxyType({}),
        skipped: Mapping[str, str] = MappingProxyType({}),
        settings: Sequence[str] | None = None,
        **facts: Any,
    ) -> None:
        """Write the manifest into `target`, which lists all other files and so has to come last.

        `inputs` are hashes of what it was made from: those of a run's own have the name of the file there, or of the
        artifact's folder (see `contents_hash`). `skipped` are the photos left out, each with the reason. What differs
        from run to run stands in `run.json` beside it: how long it took, and the `settings` that it was made with, as
        they were typed.
        """
        files = {path.relative_to(target).as_posix(): path for path in target.rglob("*") if path.is_file()}
        content = {
            "made_by": provenance(),
            "fingerprint": self.fingerprint,
            "config": dict(config),
            "inputs": dict(inputs),
            "skipped": dict(skipped),
            "files": {name: _facts(name, path) for name, path in files.items()},
            **facts,
        }
        write_json(target / MANIFEST, sealed({**content, "score": score if math.isfinite(score) else None}))
        seconds = round(time.monotonic() - self._began, 2)
        write_json(target / RUN, {"seconds": seconds} | ({} if settings is None else {"settings": list(settings)}))


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A record with a hash of itself, by which edits are seen."""
    return {**content, _SEAL: _seal(content)}


def is_edited(content: Mapping[str, Any]) -> bool:
    """Whether somebody has changed a record since it was sealed; of one without a seal nothing is known."""
    return _SEAL in content and content[_SEAL] != _seal(content)


def _seal(content: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in content.items() if key not in (_SEAL, "seconds")}
    as_stored = json.loads(json.dumps(kept))  # keys that are numbers are texts there, and sort as such
    return fingerprint_of(json.dumps(as_stored, sort_keys=True))


def recorded(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact; empty where there is none."""
    path = folder / MANIFEST
    manifest = read_json(path) if path.is_file() else {}
    if not isinstance(manifest, dict):
        raise UserError(f"{path} is no manifest: remove {folder} and make it anew")
    return manifest


def typed_settings(folder: Path) -> list[str] | None:
    """The settings that an artifact was made with, as they were typed; None where that is not known."""
    path = folder / RUN
    content = read_json(path) if path.is_file() else {}
    settings = content.get("settings") if isinstance(content, dict) else None
    return [word for word in settings if isinstance(word, str)] if isinstance(settings, list) else None


def intact(folder: Path, *, under: str = "") -> bool:
    """Whether the manifest lists files whose names begin with `under`, and these still are what it says."""
    listed = _listed(folder, under)
    return bool(listed) and not any(_fault(folder, name, facts) for name, facts in listed.items())


def faults_of_artifact(folder: Path) -> list[str]:
    """What about an artifact's files is not as its manifest says, one line each. Raises `UserError` without one."""
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder / MANIFEST} is missing: nothing is known of what lies there")
    listed = _listed(folder, "")
    edited = [f"{folder / MANIFEST} has been edited"] if is_edited(recorded(folder)) else []
    found = edited + faults_of_files(folder, listed)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found + [f"{folder / name} is not in its manifest" for name in sorted(there - {*listed, MANIFEST, RUN})]


def faults_of_files(folder: Path, listed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which files of a folder have not the facts (see `file_facts`) that a record lists, one line each."""
    return [f"{folder / name} {fault}" for name, facts in listed.items() if (fault := _fault(folder, name, facts))]


def file_facts(path: Path) -> dict[str, Any]:
    """What a record lists of a file: its size and hash."""
    return {"size": path.stat().st_size, "sha256": file_hash(path)}


def foreign_files(folder: Path) -> list[str]:
    """What lies in an artifact's folder, but was not written with it, or has been changed since; hidden files aside."""
    if not folder.is_dir():
        return []
    listed, found = _listed(folder, ""), sorted(names_below(folder))
    return [name for name in found if name not in (MANIFEST, RUN) and _is_foreign(folder, name, listed.get(name))]


def contents_hash(folder: Path) -> str | None:
    """A hash of all files that an artifact's manifest lists, whoever made them; None where there is no manifest."""
    files = _listed(folder, "")
    return (
        fingerprint_of(repr(sorted((name, *sorted(facts.items())) for name, facts in files.items()))) if files else None
    )


def _listed(folder: Path, under: str) -> dict[str, dict[str, Any]]:
    files = recorded(folder).get("files", {})
    if not isinstance(files, dict) or not all(isinstance(facts, dict) and "size" in facts for facts in files.values()):
        raise UserError(
            f"{folder / MANIFEST} lists no files with sizes: somebody has edited it; make {folder.name} anew"
        )
    return {name: facts for name, facts in files.items() if name.startswith(under)}


def _is_foreign(folder: Path, name: str, facts: dict[str, Any] | None) -> bool:
    return facts is None or _fault(folder, name, facts) is not None


def _fault(folder: Path, name: str, facts: Mapping[str, Any]) -> str | None:
    path = folder / name
    if not is_safe(name) or not path.is_file():
        return "is missing"
    if path.stat().st_size != facts["size"]:
        return f"has {path.stat().st_size} bytes, its manifest says {facts['size']}"
    return None if _facts(name, path) == facts else "has another content than its manifest says"


def _facts(name: str, path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size} if name.startswith(SCORES) else file_facts(path)
