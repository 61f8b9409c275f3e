"""The command `eps`, and that it knows every verb and stage."""

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import eps
from eps.__main__ import commands, main
from eps.cli import conf_dir
from eps.settings import leaves, read_schema

ROOT = Path(__file__).parents[1]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/bin/eps", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run


def test_every_module_that_runs_is_a_command() -> None:
    runs = {
        path.stem
        for folder in ("eps", "stages")
        for path in (ROOT / folder).glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8") and path.stem != "__main__"
    }
    assert runs == set(commands())
    assert {"stage1", "stage2", "stage3", "prepare", "train_cls", "predict"} <= runs


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_list(command: Command, words: tuple[str, ...]) -> None:
    code, out, err = command(*words)
    assert (code, err) == (0, "")
    assert re.findall(r"^  (\w+) ", out, flags=re.MULTILINE) == list(commands())
    assert max(map(len, out.splitlines())) <= 118


def test_version(command: Command) -> None:
    assert command("--version") == (0, f"{eps.__version__}\n", "")


def test_unknown(command: Command) -> None:
    code, out, err = command("train_cl", "seed=1")
    assert (code, out) == (2, "")
    assert err == "error: eps train_cl: no such command; did you mean train_cls? eps --help lists them all\n"


def test_help_of_a_verb_names_the_command(command: Command) -> None:
    code, out, _ = command("prepare", "--help")
    assert code == 0
    assert out.startswith("eps prepare [key=value ...]")
    assert "  eps prepare data=photos data.root=photos " in out
    assert "  eps prepare --help segmenter " in out
    assert "python -m" not in out
    assert "  eps train_cls name=mine seed=1  a run of its own" in command("train_cls", "--help")[1]
    assert "  eps predict --help predict " in command("predict", "--help")[1]


def test_examples_are_of_settings_that_there_are() -> None:
    known = {name for name, _ in leaves(read_schema(), "Config")}
    told = {name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for name, path in commands().items()}
    examples = {
        name: re.findall(r"^    (.*?)(?:  .*)?$", text or "", flags=re.MULTILINE) for name, text in told.items()
    }
    assert sum(map(len, examples.values())) > 15
    for name, lines in examples.items():
        for line in lines:
            assert line.startswith(f"python -m eps.{name}")
            words = [word for word in line.split()[3:] if "=" in word]
            if "--config-dir" in line:  # of a project that `eps init` has made
                words.remove("experiment=project")
            for key, _, value in (word.partition("=") for word in words):
                assert key in known or (conf_dir() / key / f"{value}.yaml").is_file(), line


def test_a_verb_gets_its_settings(command: Command) -> None:
    code, out, _ = command("prepare", "--cfg", "job", "seed=7")
    assert code == 0
    assert "seed: 7" in out
