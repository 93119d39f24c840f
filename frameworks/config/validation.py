"""Checks of a spec's fields, whose errors name the field, the value and what is allowed."""

import difflib
from collections.abc import Collection, Iterable

from frameworks.errors import UserError


class SpecError(UserError, ValueError):
    """A field of the spec holds a value that no model can be built from."""


def require(condition: bool, owner: object, field: str, expected: str) -> None:
    """Raise SpecError naming ``owner.field``, its value and what was expected unless ``condition`` holds."""
    if not condition:
        value = getattr(owner, field)
        raise SpecError(f"{type(owner).__name__}.{field} is {value!r}; expected {expected}")


def require_choice(owner: object, field: str, allowed: Collection[object]) -> None:
    """Raise SpecError unless the field's value is one of ``allowed``."""
    choices = ", ".join(repr(choice) for choice in allowed)
    require(getattr(owner, field) in allowed, owner, field, f"one of {choices}")


def nearest(name: str, candidates: Iterable[str]) -> str:
    """The text `` Did you mean 'x'?`` with the closest candidate, or an empty string."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
