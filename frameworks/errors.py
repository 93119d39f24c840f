"""The exception that commands show to the user as one line, and the exit status after it."""

import sys
from collections.abc import Callable

WRONG = 2  # exit status of a command after a UserError
_LONGEST = 4000  # characters of a line that is shown


class UserError(Exception):
    """A mistake in what the user gave; the message says what, where, and what to do. Exit status 2."""


def exit_status(command: Callable[[], int]) -> int:
    """Run ``command`` and return its exit status; a UserError becomes one line on stderr and the status 2."""
    try:
        return command()
    except UserError as error:
        line = " ".join(str(error).split())  # what a stranger's file says may be long or steer the terminal
        shown = "".join(letter if letter.isprintable() else "?" for letter in line[:_LONGEST])
        print(f"error: {shown}", file=sys.stderr)
        return WRONG


def said(reason: object) -> str:
    """What an exception or a server says, as a piece of one line."""
    return " ".join(str(reason).split())[:200] or type(reason).__name__
