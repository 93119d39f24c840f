"""The exception that commands show to the user as one line, and the exit statuses of every command."""

import io
import os
import sys
from collections.abc import Callable

WRONG = 2  # exit status of a command after a UserError
NO_READER = 141  # what read the output has ended, as in `| head`; the shell's number for such an end
_LONGEST = 4000  # characters of a line that is shown


class UserError(Exception):
    """A mistake in what the user gave; the message says what, where, and what to do. Exit status 2."""


def exit_status(command: Callable[[], int]) -> int:
    """Run ``command`` and return its exit status; a UserError becomes one line on stderr and the status 2.

    Where nobody reads the output any more, the command ends without a word and the status is 141.
    """
    _let_print_show_everything()
    try:
        try:
            status = command()
        except UserError as error:
            status = WRONG
            print(f"error: {printable(str(error))[:_LONGEST]}", file=sys.stderr)
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # or Python complains when it flushes at its end
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return NO_READER
    return status


def said(reason: object) -> str:
    """What an exception or a server says, as a piece of one line."""
    return printable(str(reason))[:200] or type(reason).__name__


def printable(text: str) -> str:
    """A text of a stranger's file on one line, with ? for each letter that could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def _let_print_show_everything() -> None:
    """Let no letter of a path or a name end a command because the locale has no such letter."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.errors == "surrogateescape":  # no locale is set: Python's own UTF-8 mode writes so
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
        elif stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
