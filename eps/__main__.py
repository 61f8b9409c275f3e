"""The command `eps`: a verb or a stage by its name, `eps train_cls ...` for `python -m eps.train_cls ...`."""

import ast
import re
import sys
import textwrap
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Final

from eps import __version__

_PACKAGE: Final = Path(__file__).resolve().parent
_MAIN: Final = re.compile(r"^(main = |def main\()", re.MULTILINE)
"""How a module says that it is a command."""
_USAGE: Final = """\
eps COMMAND [key=value ...]

{commands}

eps COMMAND --help tells what a command reads, writes and can be set to; python -m eps.COMMAND is the same.
eps --version prints the version."""


def main() -> None:
    """Run the command that the first word names. Ends the process with code 2 where there is none of that name."""
    name, *rest = sys.argv[1:] or ["--help"]
    known = commands()
    if name in ("-h", "--help", "help"):
        print(_USAGE.format(commands="\n".join(_line(one, path) for one, path in known.items())))
    elif name == "--version":
        print(__version__)
    elif name in known:
        sys.argv = [f"eps {name}", *rest]
        import_module(".".join(known[name].relative_to(_PACKAGE.parent).with_suffix("").parts)).main()
    else:
        raise SystemExit(_refuse(name, known))


def commands() -> Mapping[str, Path]:
    """The files of all commands by name: stages, which lie in the package where it is installed, then verbs."""
    inside = _PACKAGE / "stages"
    stages = inside if inside.is_dir() else _PACKAGE.parent / "stages"
    files = [path for folder in (stages, _PACKAGE) for path in sorted(folder.glob("[a-z]*.py"))]
    return {path.stem: path for path in files if _MAIN.search(path.read_text(encoding="utf-8"))}


def _line(name: str, path: Path) -> str:
    """The command with the first line of its docstring, which is read and not run: torch takes seconds."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    purpose = told.partition("\n")[0].partition(": `")[0].removesuffix(".")
    return textwrap.fill(f"  {name:<15}{purpose}", 118, subsequent_indent=" " * 17)


def _refuse(name: str, known: Mapping[str, Path]) -> int:
    near = get_close_matches(name, known, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    print(f"error: eps {name}: no such command; {guess}eps --help lists them all", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
