"""docs/TUTORIAL.md: its commands run, with tiny sizes, and print what it shows, numbers aside."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "TUTORIAL.md").read_text(encoding="utf-8")
SMALL = (
    ('{"train": 220}, size=192', '{"train": 20}, size=64'),
    ("classifier.steps=300", "classifier.steps=2 classifier.batch=4"),
    ("segmenter.steps=600", "segmenter.steps=2 segmenter.batch=4"),
)
"""What the tutorial does with more of it."""
TINY = " trunk=tiny pseudo_masks.scales=[1] runtime.device=cpu runtime.workers=0 runtime.memory_limit=-1"
MACHINE = ("software", "extras", "device", "torch", "pip")
"""Words that lines about the machine begin with."""


def blocks() -> list[tuple[str, str]]:
    """Each block of commands with what stands below it as their output."""
    found = re.findall(r"```(sh|text)\n(.*?)```", TEXT, flags=re.DOTALL)
    commands = [i for i, (kind, _) in enumerate(found) if kind == "sh"]
    after = {i: found[i + 1][1] if found[i + 1 : i + 2] and found[i + 1][0] == "text" else "" for i in commands}
    return [(found[i][1], after[i]) for i in commands]


def smaller(commands: str) -> str:
    for large, small in SMALL:
        commands = commands.replace(large, small)
    return re.sub(r"^(eps .*experiment=project.*)$", rf"\1{TINY}", commands, flags=re.MULTILINE)


def shape(line: str) -> str:
    """The first words of a line, numbers, their units and the dash of one that is not known as #."""
    words = re.sub(r"─+", "", re.sub(r"\d[\d.]*(x\d+)?", "#", line)).split()
    return " ".join("#" if word in ("-", "\N{EN DASH}") else word for word in words[:3])


def test_something_is_made_smaller() -> None:
    commands = "".join(commands for commands, _ in blocks())
    assert all(large in commands for large, _ in SMALL)
    assert smaller(commands).count(TINY) >= 5


def test_every_stage_is_shown_with_its_output() -> None:
    shown = [commands for commands, output in blocks() if output]
    for word in ("eps init", "eps doctor", "eps stage1", "eps stage2", "eps stage3", "eps predict"):
        assert any(word in commands for commands in shown), word


@pytest.mark.slow
@pytest.mark.release
def test_commands_run_and_print_what_is_shown(tmp_path: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("its commands are for a POSIX shell")
    mark = "=====>"
    script = "set -e\n" + "".join(f"{smaller(commands)}\necho '{mark}'\n" for commands, _ in blocks())
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": search, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    printed = done.stdout.split(mark)
    for (commands, output), told in zip(blocks(), printed, strict=False):
        shapes = {shape(line) for line in told.splitlines()}
        for line in output.splitlines():
            if line.split() and line.split()[0] not in MACHINE:
                assert shape(line) in shapes, f"{commands}\nprints no line like\n{line}\nbut\n{told}"
    assert (tmp_path / "my_project/runs/my_project/export/onnx/model.onnx").is_file()
