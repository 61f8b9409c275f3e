"""What the documents quote, for tests that try it: commands and the settings in them."""

import re
import shlex
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
Settings = dict[str, str]


def commands(text: str) -> list[str]:
    """Every line of a code block that calls one of our modules, without its comment."""
    lines = [line.strip().split("  #")[0].strip() for line in text.splitlines()]
    return [line for line in lines if re.match(r"(python -m|torchrun .*-m) (eps|stages)\.\w|eps [a-z]", line)]


def settings_of(command: str) -> Settings:
    """By key what a command sets, of a multirun its first job's. Its module has to be there.

    A project that `eps init` has made stands for the settings that it begins with (`tests/test_init.py` tries its own).
    """
    words = shlex.split(re.sub(r"^torchrun --nproc_per_node=\d+ ", "", command).removeprefix("python "))
    module = words[1] if words[0] == "-m" else f"eps.{words[1]}".replace("eps.stage", "stages.stage")
    assert find_spec(module) is not None, command
    sweeps = "-m" in words[2:]
    pairs = [word.split("=", 1) for word in words[2:] if "=" in word and not word.startswith("-")]
    given = {key: re.split(r",(?![^\[]*\])", value)[0] if sweeps else value for key, value in pairs}
    return given | {"experiment": "photos"} if "--config-dir" in words else given


def distinct(every: Iterable[Settings]) -> list[list[str]]:
    """Settings to try: those of a command that others set, too, are tried with them."""
    sets = [frozenset(given.items()) for given in every]
    largest = [one for one in dict.fromkeys(sets) if not any(one < other for other in sets)]
    return [[f"{key}={value}" for key, value in sorted(one)] for one in largest]
