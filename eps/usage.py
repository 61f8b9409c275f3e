"""What `--help` prints: the purpose of a verb, examples, and every choice in `conf/`."""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import yaml

WIDTH = 118
_USAGE = """\
{command} [key=value ...] [-m] [--cfg job]

{purpose}

Examples
  {command}                         as configured
  {command} name=mine seed=1        a run of its own, in runs/mine
  {command} classifier=cam          another choice of a group
  {command} -m seed=0,1,2           a multirun: one job for each value
  {command} --cfg job               print every setting, run nothing

Groups (group=choice, * is the default)
{groups}
Settings
  Any one: group.key=value, as in classifier.steps=100. Lists: pseudo_masks.scales=[0.5,1].
  --cfg job prints them all; eps/schema/ says what each one means.

Outputs
  Everything of a run lies in runs/<name>/. A multirun gives each job its own folder,
  runs/<name>/sweeps/<time>/<job>/, and ends with a table of scores, also in sweep.json."""


def usage(verb: ModuleType, conf: Path) -> str:
    """The help of a verb's or stage's module, whose docstring says what it does, reads and writes."""
    name = verb.__spec__.name if verb.__spec__ else verb.__name__  # __main__ has its real name in its spec
    typed = sys.argv[0] if sys.argv[0].startswith("eps ") else f"python -m {name}"  # the first by eps.__main__
    purpose = (verb.__doc__ or "").strip()
    return _USAGE.format(command=typed, purpose=purpose, groups="".join(_groups(conf)))


def _groups(conf: Path) -> Iterator[str]:
    """Every group in the order of `config.yaml`, every choice with the first comment of its file."""
    defaults = yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = {group: choice for entry in defaults if isinstance(entry, dict) for group, choice in entry.items()}
    for group in (key for key in chosen if (conf / key).is_dir()):
        for i, path in enumerate(sorted((conf / group).glob("*.yaml"))):
            choice = path.stem + ("*" if path.stem == chosen[group] else "")
            comments = re.findall(r"^# (?!@package)(.*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            shown = f"  {group if i == 0 else '':<14}{choice:<24}"
            line = shown + (comments[0] if comments else "")
            yield textwrap.fill(line, WIDTH, subsequent_indent=" " * len(shown)) + "\n"
