"""The sentences of a page in the language of its reader.

Code and templates give an English sentence with named gaps, `say("{name} trained.", name=...)`; a catalogue of
another language has the same sentence as its key. What the catalogue lacks stays English. Text in figures is always
English, because no font for other scripts is certain to be on a machine.
"""

import functools
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

LANGUAGES = ("en", "zh")
_language: ContextVar[str] = ContextVar("language", default="en")


@functools.cache
def catalogue(language: str) -> dict[str, str]:
    """English sentence -> sentence of `language`; empty for English."""
    if language == "en":
        return {}
    return tomllib.loads((Path(__file__).parent / f"{language}.toml").read_text(encoding="utf-8"))


@contextmanager
def in_language(language: str) -> Iterator[None]:
    """Within, `say` speaks `language`, one of LANGUAGES."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def say(sentence: str, /, **values: object) -> str:
    """The sentence in the page's language, its gaps filled; a value may have a format, as in `{loss:.3f}`."""
    return catalogue(_language.get()).get(sentence, sentence).format(**values)
