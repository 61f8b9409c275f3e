"""Look whether a run is still what its manifests say: `python -m eps.verify runs/NAME`.

Reads every manifest below the run's folder and the records of shards, and hashes again what they list; writes nothing.
Told are files that are missing, changed or nowhere listed, artifacts made from others than lie there now, and scores of
others. Exit code 2 where there is any.
"""

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from eps.cli import entrypoint, mistakes_refused
from eps.data.artifacts import file_hash, read_json
from eps.data.manifest import MANIFEST, contents_hash, faults_of_artifact, is_edited, recorded
from eps.engine.progress import remark
from eps.engine.shard_labels import FOLDER, look_at_shards
from eps.errors import UserError
from eps.schema import Config, Result

SHOWN = 10
ARTIFACTS = ("classifier", "pseudo_masks", "segmenter")
"""Of every run: a folder called so is one."""


def run(cfg: Config) -> Result:
    """Check every artifact of the run, one line each. Raises `UserError` with what no longer matches."""
    place = Path(cfg.run_dir)
    artifacts = sorted(path.parent for path in place.rglob(MANIFEST) if not _is_unfinished(path.relative_to(place)))
    shards = [*place.rglob(FOLDER), *([place] if place.resolve().name == FOLDER else [])]
    if not artifacts and not shards:
        raise UserError(f"{place} holds no manifest: give the folder of a run, python -m eps.verify runs/NAME")
    found: list[str] = []
    for folder in artifacts:
        inputs = recorded(folder).get("inputs", {})
        told = _input_faults(folder, inputs.items() if isinstance(inputs, dict) else (), place)
        faults = [*faults_of_artifact(folder), *told]
        found += faults
        remark(f"{folder}: {f'{len(faults)} faults' if faults else 'as its manifest says'}")
    for folder in sorted(shards):
        looked = look_at_shards(folder)
        faults = [*looked.faults, *_input_faults(folder, sorted(looked.inputs), place)]
        found += faults
        remark(f"{folder}: {f'{len(faults)} faults' if faults else 'as its records say'}")
    bare = (place / name for name in ARTIFACTS if (place / name).is_dir() and place / name not in artifacts)
    found += [f"{folder} has no {MANIFEST}: nothing is known of what lies there" for folder in bare]
    found += [fault for path in sorted(place.rglob("evaluation/*.json")) for fault in _score_faults(path, place)]
    if found:
        rest = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(f"{place}: {'; '.join(found[:SHOWN])}{rest}")
    return Result(score=math.nan, path=place)


def _is_unfinished(path: Path) -> bool:
    """Whether what a stopped run has left is in it."""
    return any(part.startswith(".") or part.endswith(".resume") for part in path.parts)


def _input_faults(folder: Path, inputs: Iterable[tuple[str, str]], run_dir: Path) -> Iterator[str]:
    """Inputs of the run's own that are not there any more as they were; those that are gone are nobody's fault."""
    for name, known in inputs:
        path = _beside(folder, name, run_dir)
        if "/" in name and path.is_file() and file_hash(path) != known:
            yield f"{folder} was made from another {path} than lies there"
        if name == "pseudo_masks" and path.is_dir() and contents_hash(path) != known:
            yield f"{folder} was made from other masks than {path} holds"


def _score_faults(path: Path, run_dir: Path) -> Iterator[str]:
    """Scores that are of an artifact which has been made anew since, or that somebody has edited."""
    content = read_json(path)
    if not isinstance(content, dict):
        return
    if is_edited(content):
        yield f"{path} has been edited"
    files = content.get("files", {})
    for name, known in files.items() if isinstance(files, dict) else ():
        beside = path.with_name(str(name))
        if not beside.is_file() or file_hash(beside) != known:
            yield f"{beside} is not as {path.name} says"
    if "fingerprint" not in content or not isinstance(content.get("subject"), str):
        return
    subject = _beside(path.parent, content["subject"], run_dir)
    now = recorded(subject).get("fingerprint")
    if now is not None and content["fingerprint"] != now:
        yield f"{path} holds scores of another {content['subject']} than lies in {subject}: run eps.evaluate again"


def _beside(folder: Path, name: str, run_dir: Path) -> Path:
    """Where a job reads an artifact: in its own folder, else in the run's."""
    own = folder.parent / name
    return own if own.exists() else run_dir / name


_main = entrypoint(run)


def main() -> None:
    """The run's folder may stand alone, without its key."""
    runs = [a for a in sys.argv[1:] if not a.startswith("-") and ("=" not in a or Path(a).is_dir())]
    with mistakes_refused():
        if len(runs) > 1:
            raise UserError(f"{' '.join(runs)}: one run at a time")
    sys.argv[1:] = [f"run_dir={_quoted(a)}" if a in runs else a for a in sys.argv[1:]]
    _main()


def _quoted(path: str) -> str:
    """As hydra's grammar wants a text that may hold anything."""
    escaped = path.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


if __name__ == "__main__":
    main()
