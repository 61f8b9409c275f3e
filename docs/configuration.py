"""What the site adds to CONFIGURATION.md: every key with its type, default and meaning, every choice of a group.

Types and meanings are read off `eps/schema`, defaults and choices off `conf/`; nothing stands here a second time. A key
without a meaning or a default is an error.
"""

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
import yaml
from omegaconf import OmegaConf

from eps import cli, settings  # cli: composing needs the schema that it registers
from eps.settings import MISSING, Key, Schema, comment, flattened, leaves, read_schema, written

CONF = cli.conf_dir()


class IncompleteReference(Exception):
    """Keys without a meaning or a default, or defaults without a key: one line that names them all."""


def keys(told: Schema, defaults: Mapping[str, Any], *, of: str = "Config") -> list[Key]:
    """Every key below a dataclass of the schema, in its order.

    Raises `IncompleteReference` where one has no meaning or no default, or a default belongs to no key.
    """
    flat = dict(flattened(told, defaults, of))
    wanted = dict(leaves(told, of))
    wrong = [f"{name} has no meaning" for name, field in wanted.items() if not field.meaning]
    wrong += [f"{name} has no default" for name in wanted if flat.get(name, MISSING) == MISSING]
    wrong += [f"{name} is no key of the schema" for name in flat if name not in wanted]
    if wrong:
        raise IncompleteReference("; ".join(wrong))
    return settings.keys(told, defaults, of=of)


def defaults(conf: Path = CONF) -> dict[str, Any]:
    """What every key is where nothing is set, references to other keys as they are written."""
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        tree = OmegaConf.to_container(hydra.compose("config"), resolve=False, enum_to_str=True)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def groups(conf: Path = CONF) -> dict[str, str]:
    """The groups of `conf/` in the order of its `config.yaml`, each with the choice that is its default, if any."""
    entries = yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    named = {group: choice for entry in entries if isinstance(entry, dict) for group, choice in entry.items()}
    return {group: choice or "" for group, choice in named.items() if (conf / group).is_dir()}


def page(told: Schema, values: Mapping[str, Any], conf: Path = CONF) -> str:
    """The reference as Markdown: keys of no group, then for each group its choices and keys, then whole recipes."""
    every, chosen = keys(told, values), groups(conf)
    parts = ["## Of every command", _table(key for key in every if "." not in key.name)]
    for group, default in chosen.items():
        parts += [f"## {group}", *_choices(conf, group, default)]
        parts += [_table(key for key in every if key.name.startswith(f"{group}."))]
    return "\n\n".join(part for part in parts if part) + "\n"


def text() -> str:
    """The page of this project."""
    return page(read_schema(), defaults())


def _choices(conf: Path, group: str, default: str) -> Iterator[str]:
    """Every file of a group with its first comment, and the file itself to be unfolded."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in sorted((conf / group).glob("*.yaml"))}
    lines = [f"| `{group}=` | |", "|---|---|"]
    for choice, content in files.items():
        mark = " (default)" if choice == default else ""
        lines.append(f"| `{choice}`{mark} | {_cell(comment(content))} |")
    yield "\n".join(lines)
    for choice, content in files.items():
        yield f'??? note "conf/{group}/{choice}.yaml"\n\n' + _indented(f"```yaml\n{content.strip()}\n```")


def _indented(block: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in block.splitlines())


def _table(rows: Any) -> str:
    lines = [_row(key) for key in rows]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *lines]) if lines else ""


def _row(key: Key) -> str:
    told = " ".join(part for part in (key.type, " ".join(f"`{c.value}`" for c in key.choices)) if part)
    of_choices = "".join(f"<br>`{c.value}`: {_cell(c.meaning)}" for c in key.choices if c.meaning)
    return f"| `{key.name}` | {told} | {_code(key.default)} | {_cell(key.meaning)}{of_choices} |"


def _code(value: Any) -> str:
    """A value as it would be typed."""
    shown = written(value)
    return shown if shown == "empty" else f"<code>{html.escape(shown).replace('|', '&#124;')}</code>"


def _cell(meaning: str) -> str:
    """Prose of the source as a table's cell: names in angle brackets are no tags."""
    parts = re.split(r"(`[^`]*`)", meaning.replace("|", "&#124;"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)
