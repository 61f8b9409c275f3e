"""Settings as people type them, and as hydra's grammar wants them."""

import re
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from eps.errors import UserError


def ordered(arguments: Sequence[str]) -> list[str]:
    """Settings first, then flags: argparse takes settings on one side of the flags only.

    Raises `UserError` for an option that hydra has not, or that would run code from a file.
    """
    settings = [a for a in arguments if a.startswith("~") or ("=" in a and not a.startswith("-"))]
    words = [readable(a) for a in settings] + [a for a in arguments if a not in settings]
    known, unknown = get_args_parser().parse_known_args(words)
    if known.experimental_rerun:
        raise UserError(
            "--experimental-rerun: unpickles a file, and with it whatever code it holds; write the settings out"
        )
    if unknown:
        raise UserError(f"no option {unknown[0]}: settings are written key=value, without dashes; see --help")
    return words


def config_dir(arguments: Sequence[str]) -> str | None:
    """What a command line's `--config-dir` names."""
    found: str | None = get_args_parser().parse_known_args(list(arguments))[0].config_dir
    return found


def readable(setting: str) -> str:
    """In quotes where hydra's grammar needs them: paths with = or parentheses, names with other letters than ASCII's.

    So is 2024_01_05, which would be the number 20240105. What begins like a list or a text in quotes is left to hydra.
    """
    key, equals, value = setting.partition("=")
    if not equals or value.startswith(tuple("'\"[{(")):
        return setting
    try:
        if not re.fullmatch(r"[\d_.]*\d_\d[\d_.]*", value):
            OverridesParser.create().parse_override(setting)
            return setting
    except HydraException:
        pass
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"{key}='{escaped}'"


def typed(setting: str) -> str:
    """Without the quotes that `readable` adds."""
    plain = re.sub(r"='([^']*)'$", r"=\1", setting, count=1)
    return plain if readable(plain) == setting else setting
