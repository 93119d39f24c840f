"""A module's call as a plain list of tensors, whatever lists, tuples and dictionaries hold them."""

from collections.abc import Iterator
from typing import Any


def tensors_in(value: Any, kind: type) -> list[Any]:
    """The tensors of class ``kind`` in a value, in order; containers are searched, anything else is passed over."""
    if isinstance(value, kind):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [found for part in value for found in tensors_in(part, kind)] if isinstance(value, (list, tuple)) else []


def with_tensors(value: Any, kind: type, tensors: Iterator[Any]) -> Any:
    """A copy of a value in which the next ones of ``tensors`` stand in the place of its own, in the same order."""
    if isinstance(value, kind):
        return next(tensors)
    if isinstance(value, dict):
        return type(value)((key, with_tensors(part, kind, tensors)) for key, part in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple takes its fields one by one
        return type(value)(*(with_tensors(part, kind, tensors) for part in value))
    if isinstance(value, (list, tuple)):
        return type(value)(with_tensors(part, kind, tensors) for part in value)
    return value
