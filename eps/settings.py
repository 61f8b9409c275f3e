"""Settings as people read them: names, types, choices and meanings, read off `eps/schema` as it is written."""

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eps.errors import UserError

SCHEMA = Path(__file__).resolve().parent / "schema"
WIDTH = 118
PLAIN = {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "Any": "any"}
MISSING = "???"
"""What a value is that has to be given."""


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
class Field:
    """A line of a dataclass."""

    name: str
    type: str
    """As it stands in the schema."""
    meaning: str


@dataclass(frozen=True)
class Schema:
    """The classes of `eps/schema` as they are written: fields of dataclasses, members of enums."""

    fields: Mapping[str, tuple[Field, ...]]
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


def keys(told: Schema, values: Mapping[str, Any], *, of: str = "Config") -> list[Key]:
    """Every key below a dataclass of the schema, in its order, with its value in a tree of them."""
    flat = dict(flattened(told, values, of))
    return [_key(told, name, field, flat.get(name, MISSING)) for name, field in leaves(told, of)]


def leaves(told: Schema, name: str, prefix: str = "") -> Iterator[tuple[str, Field]]:
    """The names of the keys below a dataclass, each with its field."""
    for field in told.fields[name]:
        if field.type in told.fields:
            yield from leaves(told, field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field


def flattened(told: Schema, values: Mapping[str, Any], name: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a tree of values: where the schema has a class, its keys; elsewhere a mapping is a value."""
    types = {field.name: field.type for field in told.fields[name]}
    for key, value in values.items():
        if types.get(key) in told.fields and isinstance(value, Mapping):
            yield from flattened(told, value, types[key], f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _key(told: Schema, name: str, field: Field, default: Any) -> Key:
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
        raise LookupError(f"the type {written} has no word")
    return PLAIN[written]


def _bases(node: ast.ClassDef) -> list[str]:
    return [base.id for base in node.bases if isinstance(base, ast.Name)]


def _fields(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> Iterator[Field]:
    for base in _bases(node):
        if base in classes:
            yield from _fields(classes[base], classes)
    for statement, meaning in _documented(node):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield Field(statement.target.id, ast.unparse(statement.annotation), meaning)


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


def written(value: Any) -> str:
    """A value as it would be typed."""
    if value is None or value == "":
        return "empty"
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return dumped.strip().removesuffix("...").strip()


def comment(content: str) -> str:
    """The first comment of a file, over as many lines as it goes."""
    found = re.search(r"^# (?!@package)(.*(?:\n# .*)*)", content, flags=re.MULTILINE)
    return re.sub(r"\n# ", " ", re.sub(r"\.?\n# (?=[A-Z])", ". ", found[1])) if found else ""


def common_to(jobs: Sequence[Sequence[str]]) -> list[str]:
    """The overrides that all of several jobs have, in the first one's order; of one job alone none."""
    return [override for override in jobs[0] if all(override in job for job in jobs)] if len(jobs) > 1 else []


def besides(overrides: Sequence[str], common: Sequence[str]) -> str:
    """What a job was set to in words of a command line, less what it has in common with others."""
    return " ".join(override for override in overrides if override not in common)


def explained(place: str, values: Mapping[str, Any]) -> str:
    """What the settings at and below a place mean, as text for a terminal. Raises `UserError` where there are none."""
    every = keys(read_schema(), values)
    found = [key for key in every if key.name == place or key.name.startswith(f"{place}.")]
    if not found:
        groups = dict.fromkeys(key.name.partition(".")[0] for key in every if "." in key.name)
        known = f"one of {', '.join(groups)}, or a part such as classifier.optim"
        raise UserError(f"--help {place}: no such settings; {known}")
    return "\n".join(line for key in found for line in _lines(key))


def _lines(key: Key) -> Iterator[str]:
    kind = " ".join(part for part in (key.type, ", ".join(choice.value for choice in key.choices)) if part)
    value = "has to be given" if key.default == MISSING else written(key.default)
    yield from textwrap.wrap(f"{key.name}={value}  ({kind})", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    told = [key.meaning, *(f"{choice.value}: {choice.meaning}" for choice in key.choices if choice.meaning)]
    for text in told:
        yield from textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
