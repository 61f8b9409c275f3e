"""What `eps.prepare` has found out about a dataset, so that it is found out once: its listing, and what was checked.

A record is worth nothing once a file that it tells of has changed: names, sizes and times of modification are kept.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from eps.data.atomic import replaced
from eps.data.listing import Form, Listing

_FORMAT: Final = 2


@dataclass(frozen=True)
class Index:
    """The records of one dataset: `index.json`, `checked.json`, `skipped.json` and `faults.txt`."""

    folder: Path

    @property
    def faults_path(self) -> Path:
        return self.folder / "faults.txt"

    def listing(self, form: Form, *, keep: bool = False) -> Listing:
        """The listing of a dataset: the one kept here where that still holds, else what its sources say.

        `keep` also keeps the latter. Forms whose sources are read as fast as an index would be have none.
        """
        if not form.indexed:
            return form.read()
        signature = files_signature(form.sources(), form.kind, *form.settings)  # of before they are read
        listing = self._kept(signature)
        if listing is None:
            listing = form.read()
            if keep:
                _write(self.folder / "index.json", {"format": _FORMAT, "signature": signature, **asdict(listing)})
        return listing

    def checked(self, what: str) -> str | None:
        """The signature of the files that were found without fault when `what` was last checked."""
        found = _read(self.folder / "checked.json").get(what)
        return found if isinstance(found, str) else None

    def record_check(self, what: str, *, signature: str) -> None:
        """Keep that these files are without fault."""
        _write(self.folder / "checked.json", {**_read(self.folder / "checked.json"), what: signature})

    def skipped(self, what: str, *, signature: str) -> dict[str, str] | None:
        """What was wrong with which photo when these very files were looked at; None where they were not."""
        found = _read(self.folder / "skipped.json").get(what)
        if not isinstance(found, dict) or found.get("signature") != signature:
            return None
        told = found.get("faults")
        good = isinstance(told, dict) and all(isinstance(fault, str) for fault in told.values())
        return told if good else None

    def record_skipped(self, what: str, faults: Mapping[str, str], *, signature: str) -> None:
        """Keep what is wrong with photos of these files."""
        content = _read(self.folder / "skipped.json")
        _write(self.folder / "skipped.json", {**content, what: {"signature": signature, "faults": dict(faults)}})

    def record_faults(self, faults: Sequence[str]) -> None:
        """Keep all faults for the user, or remove those of an earlier check."""
        write_faults(self.faults_path, faults)

    def _kept(self, signature: str) -> Listing | None:
        content = _read(self.folder / "index.json")
        if content.get("format") != _FORMAT or content.get("signature") != signature:
            return None
        try:
            return Listing(
                classes=tuple(content["classes"]),
                labels={photo: tuple(tags) for photo, tags in content["labels"].items()},
                splits={split: tuple(ids) for split, ids in content["splits"].items()},
                sizes={photo: (int(height), int(width)) for photo, (height, width) in content["sizes"].items()},
                faults=dict(content["faults"]),
                notes=tuple(content["notes"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError):  # somebody has edited it
            return None


def write_faults(path: Path, faults: Sequence[str]) -> None:
    """Write all faults, one a line; without any, remove the file of an earlier look."""
    if not faults:
        path.unlink(missing_ok=True)
        return
    with replaced(path) as temporary:
        temporary.write_text("".join(f"{fault}\n" for fault in faults), encoding="utf-8")


def files_signature(files: Iterable[Path], *settings: str) -> str:
    """A hash of settings, and of names, sizes and times of modification of files; missing ones count as such."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for path in files:
        try:
            status = path.stat()
            facts = [status.st_size, status.st_mtime_ns]
        except OSError:
            facts = []
        digest.update(json.dumps([str(path), *facts]).encode())
    return digest.hexdigest()


def _write(path: Path, content: dict[str, Any]) -> None:
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(content, sort_keys=True) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    """What a record says; nothing where it is missing or broken: it can be made again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
