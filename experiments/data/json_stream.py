"""Read a JSON object with long lists, one element of a list at a time: COCO's files have 450 MB."""

import codecs
import json
import re
from collections.abc import Callable
from typing import IO, Any

_BLOCK = 1 << 20  # bytes that are read at once
_BLANKS = re.compile(r"[ \t\n\r]*")


def read_object(stream: IO[bytes], hook: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Parse an object; ``hook`` takes every object within it, as json's ``object_hook``.

    The text in memory is a block, or an element where that is longer.

    Raises:
        ValueError: it is not JSON (the message says where), or no object.
        RecursionError: it is nested too deeply.
    """
    window = _Window(stream, json.JSONDecoder(object_hook=hook))
    found: dict[str, Any] = {}
    if window.next() != "{":
        raise ValueError("it does not start with {")
    window.skip("{")
    while window.next() != "}":
        if found:
            window.skip(",")
        if window.next() != '"':
            raise window.error("a name in quotes is missing")
        name = window.value()
        window.skip(":")
        found[name] = _elements(window) if window.next() == "[" else window.value()
    window.skip("}")
    if window.next():
        raise window.error("something follows the object")
    return found


def _elements(window: "_Window") -> list[Any]:
    found: list[Any] = []
    window.skip("[")
    while window.next() != "]":
        if found:
            window.skip(",")
        found.append(window.value())
    window.skip("]")
    return found


class _Window:
    """The part of a text that is not parsed yet, as far as it is read."""

    def __init__(self, stream: IO[bytes], decoder: json.JSONDecoder) -> None:
        first = stream.read(4)
        self.stream, self.parse = stream, decoder.raw_decode
        self.decoder = codecs.getincrementaldecoder(json.detect_encoding(first))()
        self.text = self.decoder.decode(first)
        self.at, self.before, self.ended = 0, 0, False  # place in the text; letters in front of the text

    def next(self) -> str:
        """The next letter that is no blank; "" at the end."""
        while True:
            self.at = _BLANKS.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._read()

    def skip(self, letter: str) -> None:
        """Go past ``letter``. Raises ValueError where another one stands."""
        if self.next() != letter:
            raise self.error(f"{letter!r} is missing")
        self.at += 1

    def value(self) -> Any:
        """The next value. Raises ValueError where there is none."""
        self.next()
        while True:
            try:
                value, end = self.parse(self.text, self.at)
            except json.JSONDecodeError as error:
                if self.ended:
                    raise self.error(error.msg, error.pos) from None
            else:
                if end + 2 < len(self.text) or self.ended:  # a number could go on behind the text, as with e+6
                    self.at = end
                    return value
            self._read()

    def error(self, what: str, at: int | None = None) -> ValueError:
        """What is wrong at a place in the text."""
        return ValueError(f"{what}, at character {self.before + (self.at if at is None else at) + 1}")

    def _read(self) -> None:
        """Read on, twice as far where a value is longer than all that is there."""
        left = self.text[self.at :]
        block = self.stream.read(max(_BLOCK, len(left)))
        self.before, self.at, self.ended = self.before + self.at, 0, not block
        self.text = left + self.decoder.decode(block, final=self.ended)
