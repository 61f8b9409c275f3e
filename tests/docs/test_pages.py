"""The pages of docs/: every command is one that runs, every message that they quote is one that we print."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from eps.cli import compose
from tests.documents import DOCS, ROOT, commands, distinct, settings_of

PAGES = (
    "../README",
    "RECIPES",
    "DATA",
    "FROM_EPS",
    "TROUBLESHOOTING",
    "LABELS",
    "CONCEPTS",
    "APP",
    "REPORT",
    "CONFIGURATION",
)
INIT = "eps init "
"""Has an argparse of its own: tests/test_init.py."""
LEAST = 10
"""Letters that a message has beside what is put into it: with fewer, any text would be one."""
WORDS = 4
"""So many words in a row come from no file or setting."""


def text(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def quoted() -> list[str]:
    """Every command of the pages."""
    found = [line for page in PAGES for line in commands(text(page))]
    return [line for line in dict.fromkeys(found) if not line.startswith(INIT)]


@pytest.mark.parametrize("words", distinct(map(settings_of, quoted())))
def test_every_command_composes(words: list[str]) -> None:
    compose(*words)


def test_a_setting_that_is_not_there_would_be_found() -> None:
    found = quoted()
    assert len(found) > 35
    assert "python -m eps.pseudo_masks pseudo_masks=crf_torch" in found
    assert settings_of("torchrun --nproc_per_node=2 -m eps.train_cls -m a=[1,2],[3] b=x,y") == {"a": "[1,2]", "b": "x"}
    assert settings_of('eps stage1 c="[d, e]"') == {"c": "[d, e]"}
    assert distinct([{"a": "1"}, {"a": "1", "b": "2"}, {"a": "3"}]) == [["a=1", "b=2"], ["a=3"]]


def test_settings_in_prose_exist() -> None:
    """What stands in backticks as key=value: the key at least is one."""
    from docs.configuration import defaults, groups, keys, read_schema

    known = {key.name for key in keys(read_schema(), defaults())} | groups().keys()
    for page in PAGES:
        prose = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
        for code in re.findall(r"`([^`\n]+)`", prose):
            for key in re.findall(r"(?<!\S)([a-z_]+(?:\.[a-z_]+)*)=", code):
                if not code.startswith(("pip ", "python -c")):
                    assert key in known or any(name.endswith(f".{key}") for name in known), f"{page}: {code}"


@cache
def messages() -> list[re.Pattern[str]]:
    """Every text of the code with something put into it, or without, as a pattern; those that say most first."""
    found: dict[str, int] = {}
    for path in sorted((ROOT / "eps").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = literals(node)
            if sum(map(len, parts)) >= LEAST:
                found["(.*?)".join(map(re.escape, parts))] = sum(map(len, parts))
    return [re.compile(pattern, re.DOTALL) for pattern in sorted(found, key=lambda one: -found[one])]


def literals(node: ast.AST) -> list[str]:
    """What a string is made of between the values that are put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if not isinstance(node, ast.JoinedStr):
        return []
    parts = [""]
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts[-1] += str(value.value)
        else:
            parts.append("")
    return parts


def is_ours(message: str) -> bool:
    """Whether the code has such a message: and what is put into it, where it is a text itself, too."""
    matches = (found for pattern in messages() if (found := pattern.fullmatch(message)))
    return any(all(len(part.split()) < WORDS or is_ours(part) for part in found.groups()) for found in matches)


def told() -> Iterator[str]:
    for block in re.findall(r"```text\n(.*?)```", text("TROUBLESHOOTING"), flags=re.DOTALL):
        yield from block.splitlines()


@pytest.mark.parametrize("message", list(told()))
def test_every_message_is_one_of_ours(message: str) -> None:
    assert is_ours(message)


def test_another_message_would_be_found() -> None:
    assert is_ours("pseudo_masks.threshold=auto needs a saliency map for every photo; set a number instead")
    assert not is_ours("pseudo_masks.threshold=auto needs a saliency map for each photo; set a number instead")
    assert not is_ours("classifier.batch=16: it needs a lot of memory, more than there is; take less of it")
    assert len(list(told())) > 15
