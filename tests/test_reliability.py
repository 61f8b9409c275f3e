"""docs/RELIABILITY.md names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_named_tests_exist(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert not test or test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_bad_input_names_its_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    heads = [row for row in rows if row.rstrip(" |").endswith("test")]
    unproven = [row for row in rows if row not in heads and not re.search(r"`tests/[\w/]+\.py(::\w+)?` \|$", row)]
    assert unproven == []
    assert len(rows) - len(heads) > 60
