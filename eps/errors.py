"""The one error that users are meant to see."""


class UserError(Exception):
    """A mistake that the user can mend: one line that names the file, key or value and says what to do.

    `eps.cli` prints it without a traceback and exits with code 2.
    """
