"""The configuration reference: complete, and true of every key."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from docs.configuration import (
    IncompleteReference,
    Key,
    Schema,
    defaults,
    groups,
    keys,
    page,
    read_schema,
)
from eps.cli import compose, conf_dir
from eps.schema import Config

SMALL = '''
class Colour(StrEnum):
    red = "red"
    """Of <blood>."""
    blue = "blue"

@dataclass
class Inner:
    size: list[list[float]]
    """Two
    lines | a bar."""
    colour: Colour
    """Which `<one>`."""

@dataclass
class Outer(Inner):
    more: dict[str, int] | None
    """By name."""

@dataclass
class Config:
    name: str
    """Of it."""
    group: Outer
'''


@pytest.fixture
def small(tmp_path: Path) -> Schema:
    (tmp_path / "small.py").write_text(SMALL)
    return read_schema(tmp_path)


@pytest.fixture(scope="module")
def every() -> dict[str, Key]:
    """This test is the one that fails where a key of ours has no meaning or no default."""
    return {key.name: key for key in keys(read_schema(), defaults())}


def test_meanings_types_and_choices(small: Schema) -> None:
    values = {"name": "a", "group": {"size": [[1.0]], "colour": "red", "more": 3}}
    with pytest.raises(LookupError, match="the type None has no word"):
        keys(small, values)
    fewer = Schema(
        fields={name: tuple(f for f in own if f.name != "more") for name, own in small.fields.items()},
        choices=small.choices,
    )
    name, size, colour = keys(fewer, {"name": "a", "group": {"size": [[1.0]], "colour": "red"}})
    assert (name.name, name.type, name.default, name.meaning) == ("name", "text", "a", "Of it.")
    assert (size.name, size.type, size.meaning) == ("group.size", "list of lists of numbers", "Two lines | a bar.")
    assert [choice.value for choice in colour.choices] == ["red", "blue"]
    assert [choice.meaning for choice in colour.choices] == ["Of <blood>.", ""]


@pytest.mark.parametrize(
    ("schema", "values", "told"),
    [
        (SMALL.replace('    """Of it."""\n', ""), {"name": "a"}, "name has no meaning"),
        (SMALL, {}, "name has no default"),
        (SMALL, {"name": "???"}, "name has no default"),
        (SMALL, {"name": "a", "group": {"size": [], "colour": "red", "more": 1, "less": 2}}, "group.less is no key"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, schema: str, values: dict[str, Any], told: str) -> None:
    (tmp_path / "small.py").write_text(schema)
    with pytest.raises(IncompleteReference, match=told):
        keys(read_schema(tmp_path), values)


def test_every_key_of_the_config_is_there(every: dict[str, Key]) -> None:
    def leaves(of: type, prefix: str) -> set[str]:
        hints = get_type_hints(of)
        nested = {field.name for field in fields(of) if is_dataclass(hints[field.name])}
        own = {prefix + field.name for field in fields(of)} - {prefix + name for name in nested}
        return own.union(*(leaves(hints[name], f"{prefix}{name}.") for name in nested))

    assert every.keys() == leaves(Config, "")


def test_defaults_are_what_is_composed(every: dict[str, Key]) -> None:
    cfg = compose()
    for name, key in every.items():
        value: Any = cfg
        for part in name.split("."):
            value = getattr(value, part)
        if "${" not in str(key.default):
            assert value == key.default, name
        assert not key.choices or {str(c.value) for c in key.choices} >= set(
            map(str, value if isinstance(value, list) else [value])
        ), name


def test_page(every: dict[str, Key]) -> None:
    told = page(read_schema(), defaults())
    for name in every:
        assert f"| `{name}` |" in told
    for path in conf_dir().glob("*/*.yaml"):
        assert f'??? note "conf/{path.parent.name}/{path.name}"' in told
    for group, choice in groups().items():
        section = told.split(f"\n## {group}\n")[1].split("\n## ")[0]
        assert section.count("(default)") == bool(choice), group
    rows = [line for line in told.splitlines() if line.startswith("| `") and line.count(" | ") == 3]
    assert len(rows) == len(every)
    assert "<file>" not in told.lower()
    assert "released:&lt;model>" in told  # would vanish as a tag
