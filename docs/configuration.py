"""The configuration reference: every key with its type, default and meaning, and every choice of a group.

Types and meanings are read off `eps/schema`, defaults and choices off `conf/`; nothing stands here a second time. A key
without a meaning or a default is an error.
"""

import ast
import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import yaml
from omegaconf import OmegaConf

from eps import cli, schema  # cli: composing needs the schema that it registers

SCHEMA = Path(schema.__path__[0])
CONF = cli.conf_dir()
PLAIN = {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "Any": "any"}


class IncompleteReference(Exception):
    """Keys without a meaning or a default, or defaults without a key: one line that names them all."""


@dataclass(frozen=True)
class Choice:
    """A value that a key may have by name, and what it means where its name does not say so."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Key:
    """A key as it is written on a command line."""

    name: str
    type: str
    """As people call it, or empty for one of `choices`."""
    default: Any
    meaning: str
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class _Field:
    name: str
    type: str
    """As it stands in the schema."""
    meaning: str


@dataclass(frozen=True)
class Schema:
    """The classes of `eps/schema` as they are written: fields of dataclasses, members of enums."""

    fields: Mapping[str, tuple[_Field, ...]]
    """By dataclass, those of the class that it extends first."""
    choices: Mapping[str, tuple[Choice, ...]]
    """By enum."""


def read_schema(folder: Path = SCHEMA) -> Schema:
    """What stands in the modules of a folder."""
    classes = {
        node.name: node
        for path in sorted(folder.glob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    enums = {name: node for name, node in classes.items() if _bases(node) == ["StrEnum"]}
    return Schema(
        fields={name: tuple(_fields(node, classes)) for name, node in classes.items() if name not in enums},
        choices={name: tuple(_members(node)) for name, node in enums.items()},
    )


def keys(told: Schema, defaults: Mapping[str, Any], *, of: str = "Config") -> list[Key]:
    """Every key below a dataclass of the schema, in its order.

    Raises `IncompleteReference` where one has no meaning or no default, or a default belongs to no key.
    """
    flat = dict(_flattened(told, defaults, of, ""))
    wanted = {name: field for name, field in _leaves(told, of, "")}
    wrong = [f"{name} has no meaning" for name, field in wanted.items() if not field.meaning]
    wrong += [f"{name} has no default" for name in wanted if flat.get(name, "???") == "???"]
    wrong += [f"{name} is no key of the schema" for name in flat if name not in wanted]
    if wrong:
        raise IncompleteReference("; ".join(wrong))
    return [_key(told, name, field, flat[name]) for name, field in wanted.items()]


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
    parts = [_INTRODUCTION, "## Of every command", _table(key for key in every if "." not in key.name)]
    for group, default in chosen.items():
        parts += [f"## {group}", *_choices(conf, group, default)]
        parts += [_table(key for key in every if key.name.startswith(f"{group}."))]
    return "\n\n".join(part for part in parts if part) + "\n"


def text() -> str:
    """The page of this project."""
    return page(read_schema(), defaults())


_INTRODUCTION = """\
# Configuration

Every key can be given to every command, as in `python -m eps.train_cls classifier.steps=100`; lists are written
`pseudo_masks.scales=[0.5,1]`. `group=choice` takes a file of `conf/`, and keys win over it. `--help` lists the choices,
`--cfg job` prints what a command would run with.

This page is made of `eps/schema/` and `conf/`. A default like `${data.val}` is another key's value."""


def _bases(node: ast.ClassDef) -> list[str]:
    return [base.id for base in node.bases if isinstance(base, ast.Name)]


def _fields(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> Iterator[_Field]:
    for base in _bases(node):
        if base in classes:
            yield from _fields(classes[base], classes)
    for statement, meaning in _documented(node):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield _Field(statement.target.id, ast.unparse(statement.annotation), meaning)


def _members(node: ast.ClassDef) -> Iterator[Choice]:
    for statement, meaning in _documented(node):
        if isinstance(statement, ast.Assign):
            yield Choice(str(ast.literal_eval(statement.value)), meaning)


def _documented(node: ast.ClassDef) -> Iterator[tuple[ast.stmt, str]]:
    """Every statement of a class with the text below it, on one line."""
    for statement, below in zip(node.body, [*node.body[1:], None], strict=True):
        told = below.value if isinstance(below, ast.Expr) else None
        text = told.value if isinstance(told, ast.Constant) and isinstance(told.value, str) else ""
        yield statement, " ".join(text.split())


def _leaves(told: Schema, name: str, prefix: str) -> Iterator[tuple[str, _Field]]:
    for field in told.fields[name]:
        if field.type in told.fields:
            yield from _leaves(told, field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field


def _flattened(told: Schema, values: Mapping[str, Any], name: str, prefix: str) -> Iterator[tuple[str, Any]]:
    """The leaves of a tree of values: where the schema has a class, its keys; elsewhere a mapping is a value."""
    types = {field.name: field.type for field in told.fields[name]}
    for key, value in values.items():
        if types.get(key) in told.fields and isinstance(value, Mapping):
            yield from _flattened(told, value, types[key], f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _key(told: Schema, name: str, field: _Field, default: Any) -> Key:
    inner = re.fullmatch(r"list\[(\w+)\]", field.type)
    enum = inner[1] if inner else field.type
    if enum in told.choices:
        return Key(name, "list of" if inner else "", default, field.meaning, told.choices[enum])
    return Key(name, _type(field.type), default, field.meaning)


def _type(written: str) -> str:
    """A type of the schema in words."""
    if " | " in written:
        return " or ".join(_type(part) for part in written.split(" | "))
    if inner := re.fullmatch(r"list\[(.+)\]", written):
        return "list of " + re.sub(r"^(integer|number|list|text)\b", r"\1s", _type(inner[1]))
    if inner := re.fullmatch(r"dict\[str, (.+)\]", written):
        return f"{_type(inner[1])} by name"
    if written not in PLAIN:
        raise IncompleteReference(f"the type {written} has no word")
    return PLAIN[written]


def _choices(conf: Path, group: str, default: str) -> Iterator[str]:
    """Every file of a group with its first comment, and the file itself to be unfolded."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in sorted((conf / group).glob("*.yaml"))}
    lines = [f"| `{group}=` | |", "|---|---|"]
    for choice, content in files.items():
        mark = " (default)" if choice == default else ""
        lines.append(f"| `{choice}`{mark} | {_cell(_comment(content))} |")
    yield "\n".join(lines)
    for choice, content in files.items():
        yield f'??? note "conf/{group}/{choice}.yaml"\n\n' + _indented(f"```yaml\n{content.strip()}\n```")


def _comment(content: str) -> str:
    """The first comment of a file, over as many lines as it goes."""
    found = re.search(r"^# (?!@package)(.*(?:\n# .*)*)", content, flags=re.MULTILINE)
    return re.sub(r"\n# ", " ", re.sub(r"\.?\n# (?=[A-Z])", ". ", found[1])) if found else ""


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
    if value is None or value == "":
        return "empty"
    written = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
    return f"<code>{html.escape(written).replace('|', '&#124;')}</code>"


def _cell(meaning: str) -> str:
    """Prose of the source as a table's cell: names in angle brackets are no tags."""
    parts = re.split(r"(`[^`]*`)", meaning.replace("|", "&#124;"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)
