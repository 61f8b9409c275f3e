"""A mistake of the user as one line, whichever of the libraries behind the command line found it."""

import re
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import get_type_hints

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from eps.errors import UserError, one_line
from eps.schema import Config

CONFIG_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)
MISTAKES = (UserError, OSError, *CONFIG_ERRORS)


def explain(error: Exception) -> str:
    """What a user has to know of an error of `MISTAKES`: one line that names the key and says what to do."""
    cause = error.__cause__ or error.__context__ if isinstance(error, HydraException) else error
    match error:
        case OverrideParseException():
            return f"cannot read {error.override!r}: settings are written key=value, lists key=[a,b]"
        case MissingConfigException(missing_cfg_file=str(wanted), options=[*options]):
            group, _, choice = wanted.rpartition("/")
            if group in ("hydra/launcher", "hydra/sweeper"):
                extra = choice if choice in ("optuna", "ray") else "sweep"
                return f"{wanted} is not installed: pip install 'eps-seg[{extra}]', or leave out sweep={choice}"
            return f"{group}={choice}: no such choice;{_suggest(choice, options)} choose one of {', '.join(options)}"
        case OSError(strerror=str(reason)):
            return f"{error.filename}: {reason}" if error.filename is not None else reason
    where = f"conf {place[1]}: " if (place := re.match(r"In '([^']+)': ", str(error))) else ""
    match cause:
        case ConfigAttributeError() | ConfigKeyError():
            key = _typed_key(str(error), str(cause.full_key))
            return f"{where}no setting {key!r};{_suggest(key, _known_keys())} --cfg job prints them all"
        case MissingMandatoryValue():
            key = cause.full_key or str(cause).rpartition(": ")[2]
            return f"{key} has no value: add {key}=..."
        case OmegaConfBaseException():
            key = f"{cause.full_key}: " if cause.full_key else ""
            nested = ""
            if "(int)" in str(cause):  # omegaconf converts none in nested lists
                nested = "; write '1' for 1" if "'str'" in str(cause) else "; write 24.0 for 24 in lists of lists"
            return f"{where}{key}{str(cause).splitlines()[0]}{nested}"
    if "Ambiguous value" in str(error):
        key, _, value = str(error).split("'")[1].partition("=")
        return f"{key}={value}: for a list write {key}=[{value}]; for one job a value add -m"
    return one_line(error)


def _typed_key(message: str, full_key: str) -> str:
    """The key as the user typed it: omegaconf names the first part that it does not know."""
    typed = re.search(r"override '?\+*([^'=\s]+)", message)
    return typed[1] if typed and not full_key.startswith(f"{typed[1]}.") else full_key


def _suggest(typed: str, known: list[str]) -> str:
    """` did you mean ...?` with the settings that end in what was typed, or the closest one."""
    found = [key for key in known if key.endswith(f".{typed}")][:3] or get_close_matches(typed, known, n=1)
    return f" did you mean {' or '.join(found)}?" if found else ""


def _known_keys(schema: type = Config, prefix: str = "") -> list[str]:
    keys = []
    hints = get_type_hints(schema)
    for field in fields(schema):
        keys.append(prefix + field.name)
        if is_dataclass(hints[field.name]):
            keys += _known_keys(hints[field.name], f"{prefix}{field.name}.")
    return keys
