"""The one error that users are meant to see."""

from collections.abc import Sequence


class UserError(Exception):
    """A mistake that the user can mend: one line that names the file, key or value and says what to do.

    `eps.cli` prints it without a traceback and exits with code 2.
    """


def one_line(error: BaseException | str) -> str:
    """What an error of a library says, without its line breaks."""
    return " ".join(str(error).split())


def some(names: Sequence[str], *, most: int) -> str:
    """The first `most` of several names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
