"""The exception that commands show to the user as one line, and the exit status after it."""

import sys
from collections.abc import Callable

WRONG = 2  # exit status of a command after a UserError


class UserError(Exception):
    """A mistake in what the user gave; the message says what, where, and what to do. Exit status 2."""


def exit_status(command: Callable[[], int]) -> int:
    """Run ``command`` and return its exit status; a UserError becomes one line on stderr and the status 2."""
    try:
        return command()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG
