"""The schema stays plain: values and folders, and nothing imported but the standard library."""

import ast
import sys
from pathlib import Path

from eps import schema
from eps.cli import compose

FILES = sorted(Path(schema.__path__[0]).glob("*.py"))


def test_imports_only_the_standard_library() -> None:
    nodes = [node for file in FILES for node in ast.walk(ast.parse(file.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    names = [name for name in names if not name.startswith("eps.schema.")]
    assert names
    assert [name for name in names if name.partition(".")[0] not in sys.stdlib_module_names] == []


def test_inputs_come_from_the_jobs_own_folder_first(tmp_path: Path) -> None:
    cfg = compose(f"run_dir={tmp_path}/run", f"out_dir={tmp_path}/job")
    assert cfg.input("classifier") == tmp_path / "run" / "classifier"
    cfg.output("classifier").mkdir(parents=True)
    assert cfg.input("classifier") == cfg.output("classifier") == tmp_path / "job" / "classifier"
