"""Kill every stage at random moments and run the same command again: what comes out must be the same, byte for byte.

    python -m tests.faults.soak --kills 50 --seed 0

One run of all verbs is left in peace; in the others each verb is killed by SIGKILL up to three times, at moments drawn
from the time that it took, before it may finish. Verbs are forked from a server that has torch loaded: kills hit
work, not imports. Everything of a finished run but seconds and what names the machine is then compared.
"""

import argparse
import json
import multiprocessing
import os
import random
import runpy
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

SETTINGS = ("experiment=tiny", "runtime.checkpoint_every=1", "classifier.steps=24", "segmenter.steps=12")
VERBS = (
    ("eps.prepare",),
    ("eps.train_cls",),
    ("eps.pseudo_masks", "pseudo_masks=crf", "pseudo_masks.save_scores=true"),
    ("eps.train_seg",),
    ("eps.evaluate", "evaluate=segmenter"),
)
MOST_KILLS = 3
"""Of one verb in one run."""
LOADED = ["eps.build", "eps.build_data", "eps.cli", "eps.engine.agreement", "eps.metrics.scorecard", "eps.ops.crf"]
UNSTABLE = ("made_by", "seconds")


class Soak(NamedTuple):
    """How often each verb was killed, and in how many runs."""

    kills: Counter[str]
    halfway: int
    """Kills that left something to go on from."""
    runs: int


def soak(folder: Path, *, kills: int, seed: int) -> Soak:
    """Kill `kills` times. Raises `AssertionError` where a run ends otherwise than the one left in peace."""
    chance, counted, halfway, runs = random.Random(seed), Counter[str](), 0, 0
    _started(time.sleep, 0).join()  # now the server is there
    seconds = {verb[0]: _finish(folder / "peace", verb) for verb in VERBS}
    print(", ".join(f"{verb} {lasted:.1f} s" for verb, lasted in seconds.items()), flush=True)
    expected = contents(folder / "peace")
    while counted.total() < kills:
        runs += 1
        place = folder / f"run{runs}"
        for verb in VERBS:
            wanted = min(chance.randint(1, MOST_KILLS), kills - counted.total())
            for _ in range(wanted):
                killed = _kill(place, verb, after=chance.uniform(0, seconds[verb[0]]))
                counted[verb[0]] += killed
                halfway += killed and any(place.glob("runs/*/*.resume*"))
            _finish(place, verb)
        _compare(expected, contents(place), place)
        print(f"run {runs}: the same after {counted.total()} kills", flush=True)
    return Soak(counted, halfway, runs)


def contents(place: Path) -> dict[str, str]:
    """By name what each file holds, but for what may differ from run to run, and for half-written files."""
    files = [path for path in sorted(place.rglob("*")) if path.is_file() and _is_result(path.relative_to(place))]
    return {path.relative_to(place).as_posix(): _digest(path) for path in files}


def _is_result(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.parts[0] == "runs" and ".index" not in str(path) and path.name != "run.json"


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.name == "manifest.json" or (path.parent.name == "evaluation" and path.suffix == ".json"):
        content = json.dumps(_without(json.loads(content), UNSTABLE), sort_keys=True).encode()
    return sha256(content).hexdigest()


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    return (
        {key: _without(held, keys) for key, held in value.items() if key not in keys}
        if isinstance(value, dict)
        else value
    )


def _compare(expected: dict[str, str], found: dict[str, str], place: Path) -> None:
    assert expected, "nothing was written"
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    assert not differing, f"{place} differs in {', '.join(differing[:10])}"


def _finish(place: Path, verb: tuple[str, ...]) -> float:
    """Run a verb to its end; how long it took."""
    began = time.monotonic()
    process = _start(place, verb)
    process.join()
    assert process.exitcode == 0, f"{verb[0]} ended with {process.exitcode}: {(place / 'log').read_text()[-2000:]}"
    return time.monotonic() - began


def _kill(place: Path, verb: tuple[str, ...], *, after: float) -> bool:
    """Whether a verb was still running so many seconds after its start, and then no more."""
    process = _start(place, verb)
    process.join(after)
    process.kill()
    process.join()
    assert process.exitcode in (0, -9), (
        f"{verb[0]} ended with {process.exitcode}: {(place / 'log').read_text()[-2000:]}"
    )
    return process.exitcode == -9


def _start(place: Path, verb: tuple[str, ...]) -> BaseProcess:
    place.mkdir(parents=True, exist_ok=True)
    return _started(_run, place, verb)


def _started(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = multiprocessing.get_context("forkserver").Process(target=function, args=arguments)
    process.start()
    return process


def _run(place: Path, verb: tuple[str, ...]) -> None:
    """As `python -m VERB SETTINGS` in that folder."""
    os.chdir(place)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv = ["", *SETTINGS, *verb[1:]]
    runpy.run_module(verb[0], run_name="__main__", alter_sys=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    multiprocessing.set_forkserver_preload(LOADED)
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        done = soak(Path(folder), kills=given.kills, seed=given.seed)
    told = ", ".join(f"{verb.removeprefix('eps.')} {count}" for verb, count in sorted(done.kills.items()))
    print(f"{done.kills.total()} kills ({told}), {done.halfway} of them halfway, in {done.runs} runs")
    print("weights, masks and metrics are the same")


if __name__ == "__main__":
    main()
