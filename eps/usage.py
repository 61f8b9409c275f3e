"""What `--help` prints: the purpose of a verb, examples, and every choice in `conf/`, or what settings mean."""

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from eps.settings import WIDTH, comment, explained

_USAGE = """\
{command} [key=value ...] [-m] [--cfg job] [--help [GROUP]]

{purpose}

Examples
{examples}

Groups (group=choice, * is the default)
{groups}
Settings
  Any one: group.key=value, as in classifier.steps=100. Lists: pseudo_masks.scales=[0.5,1].
  --help GROUP tells what those of a group mean, --cfg job prints the values of all.

Outputs
  Everything of a run lies in runs/<name>/. A multirun gives each job its own folder,
  runs/<name>/sweeps/<time>/<job>/, and ends with a table of scores, also in sweep.json."""


_EXAMPLES = """\
    {command}  as configured
    {command} name=mine seed=1  a run of its own, in runs/mine
    {command} classifier=cam  another choice of a group
    {command} -m seed=0,1,2  a multirun: one job for each value"""
_ALWAYS = """
    {command} --cfg job  print every setting, run nothing
    {command} --help {group}  what the settings of a group mean"""


def usage(
    verb: ModuleType, conf: Path, words: Sequence[str], values: Callable[[Sequence[str]], Mapping[str, Any]]
) -> str:
    """The help of a verb's or stage's module, whose docstring says what it does, reads and writes, with examples.

    `words` are those of the command line: what is no setting among them names settings, which are told of instead, with
    the `values` that the settings leave them.
    """
    named = [word for word in words if "=" not in word and not word.startswith("-")]
    if named:
        tree = values([word for word in words if "=" in word])
        return "\n".join(explained(place, tree) for place in named)
    name = verb.__spec__.name if verb.__spec__ else verb.__name__  # __main__ has its real name in its spec
    typed = sys.argv[0] if sys.argv[0].startswith("eps ") else f"python -m {name}"  # the first by eps.__main__
    lines = (verb.__doc__ or "").strip().splitlines()
    own = "\n".join(line for line in lines if line.startswith("    ")).replace(f"python -m {name}", typed)
    verb_name = name.rpartition(".")[2]
    group = verb_name if (conf / verb_name).is_dir() else "segmenter"
    examples = _columns((own or _EXAMPLES.format(command=typed)) + _ALWAYS.format(command=typed, group=group))
    purpose = "\n".join(line for line in lines if not line.startswith("    ")).strip()
    return _USAGE.format(command=typed, purpose=purpose, examples=examples, groups="".join(_groups(conf)))


def _columns(examples: str) -> str:
    """Commands below each other, and what they do, which two spaces part from them."""
    pairs = [(command, told.strip()) for command, _, told in (x.strip().partition("  ") for x in examples.splitlines())]
    width = max(len(command) for command, _ in pairs)
    return "\n".join(f"  {command:<{width}}  {told}".rstrip() for command, told in pairs)


def _groups(conf: Path) -> Iterator[str]:
    """Every group in the order of `config.yaml`, every choice with the comment that its file begins with."""
    defaults = yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = {group: choice for entry in defaults if isinstance(entry, dict) for group, choice in entry.items()}
    for group in (key for key in chosen if (conf / key).is_dir()):
        for i, path in enumerate(sorted((conf / group).glob("*.yaml"))):
            choice = path.stem + ("*" if path.stem == chosen[group] else "")
            shown = f"  {group if i == 0 else '':<14}{choice:<24}"
            line = shown + comment(path.read_text(encoding="utf-8"))
            yield textwrap.fill(line, WIDTH, subsequent_indent=" " * len(shown), break_on_hyphens=False) + "\n"
