"""Photos that people have set aside: a list of ids, one a line, which stage 3 leaves out."""

from collections.abc import Collection, Iterable
from pathlib import Path

from eps.data.atomic import replaced
from eps.data.listing import read_list
from eps.errors import UserError


def read_exclusion(path: Path, *, known: Collection[str], known_as: str) -> list[str]:
    """The ids of a list, each once. Raises `UserError` where there is no such file, or for an id that is not `known`.

    `known_as` says where they are known from, as in `split train`.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a list of ids, one a line")
    ids = list(dict.fromkeys(read_list(path)))
    unknown = [photo for photo in ids if photo not in known]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise UserError(f"{path}: {known_as} has no photo {unknown[0]!r}{more}; remove it from the list")
    return ids


def write_exclusion(path: Path, ids: Iterable[str]) -> None:
    """Write a list of ids, one a line."""
    with replaced(path) as temporary:
        temporary.write_text("".join(f"{photo}\n" for photo in ids), encoding="utf-8")
