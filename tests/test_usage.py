"""The command `eps`, and that it knows every verb and stage."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import eps
from eps.__main__ import commands, main

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
    assert "  eps prepare name=mine seed=1 " in out
    assert "python -m" not in out


def test_a_verb_gets_its_settings(command: Command) -> None:
    code, out, _ = command("prepare", "--cfg", "job", "seed=7")
    assert code == 0
    assert "seed: 7" in out
