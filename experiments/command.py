"""Scaffolding of the commands in experiments/: parser, one-line errors, exit statuses and --python NAME=PATH."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NoReturn

from frameworks.config.validation import nearest
from frameworks.errors import UserError, exit_status
from frameworks.files import user_path

COMPLETE, FAILED, INTERRUPTED = 0, 1, 130  # exit statuses beside frameworks.errors.WRONG


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP (a closed terminal): what is written stays, nothing more is."""


class Parser(argparse.ArgumentParser):
    """A parser that raises UserError and accepts no abbreviated options; subcommands inherit both."""

    def __init__(self, **settings: Any) -> None:
        settings["allow_abbrev"] = False
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage and exiting."""
        raise UserError(f"{message}; see --help")


def run_command(command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Run `command` and return its exit status; a UserError or Ctrl-C becomes one line on stderr."""
    try:
        return exit_status(command)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal is closed
            print(interrupted, file=sys.stderr)
        return INTERRUPTED


def end_on_signals() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, SIGTERM and SIGHUP raise Stopped; a second one ends the process at once.

    Workers and their compilers end with the process. What was ignored when it started (nohup) stays ignored.
    """
    wanted = [
        each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN
    ]

    def interrupt(number: int, _: object) -> NoReturn:
        for each in wanted:
            signal.signal(each, lambda *_: os._exit(INTERRUPTED))
        raise KeyboardInterrupt if number == signal.SIGINT else Stopped

    for each in wanted:
        signal.signal(each, interrupt)


def require_positive(given: Mapping[str, Any], *names: str) -> None:
    """Raise UserError for the first of the options ``names`` that is given, not as None, and below 1."""
    for name in names:
        value = given.get(name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; expected 1 or more")


def parse_frameworks(text: str, known: Collection[str]) -> tuple[str, ...]:
    """The names in `text`, "A,B". Raises UserError for a name that is not in `known` or that occurs twice."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise UserError(
                f"unknown framework {name!r}; known frameworks: {', '.join(known)}.{nearest(name, known)}"
            )
    if len(set(names)) != len(names):
        raise UserError(f"--frameworks names one twice: {text}; give each name once")
    return names


def parse_pythons(pairs: Iterable[str], frameworks: Collection[str]) -> dict[str, str]:
    """Interpreter of each framework's worker, from the values NAME=PATH of --python.

    Raises:
        UserError: not NAME=PATH, a name that is not in `frameworks`, or one that occurs twice.
    """
    pythons: dict[str, str] = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if name not in frameworks or not path:
            known = ",".join(frameworks)
            raise UserError(
                f"--python {pair}: expected NAME=PATH with a name of --frameworks {known}, found {name!r}"
            )
        if name in pythons:
            raise UserError(f"--python names {name!r} twice; give one interpreter for each framework")
        pythons[name] = str(user_path(path))
    return pythons


def image_size(text: str) -> tuple[int, int]:
    """Height and width in pixels from "320" or "320x640". Raises UserError for other text."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise UserError(f"--image-size is {text!r}; expected pixels, as in 320, or height x width, as in 320x640")
    return int(sides[0]), int(sides[-1])
