"""Spec dataclasses as plain data (JSON types) and back, and the hash of a spec."""

import dataclasses
import hashlib
import json
import math
import types
import typing
from typing import Any, TypeVar

from frameworks.config.validation import SpecError, nearest

T = TypeVar("T")


def added(default: T) -> T:
    """The default of a field that a spec dataclass gets after specs have been recorded: ``depth: int = added(1)``.

    The default has to mean what the model did before. Then specs that are older than the field stay the same: while
    the field has its default, it is not in ``spec_hash``, and complete YAML files may leave it out.
    """
    return dataclasses.field(default=default, metadata={"added": True})


def recorded(spec: Any) -> Any:
    """The plain data of ``to_dict`` without the ``added`` fields that have their default, at every level."""
    if isinstance(spec, tuple):
        return [recorded(value) for value in spec]
    if not dataclasses.is_dataclass(spec):
        return spec
    values = {field: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    return {
        field.name: recorded(value)
        for field, value in values.items()
        if not field.metadata.get("added") or value != field.default
    }


def to_dict(spec: Any) -> dict[str, Any]:
    """A spec dataclass as nested plain data: mappings, and lists for tuples."""
    return json.loads(json.dumps(dataclasses.asdict(spec)))


def from_dict(kind: type[T], values: dict[str, Any], where: str = "") -> T:
    """Rebuild a spec dataclass of type ``kind`` from plain data; fields that are left out get their defaults.

    ``where`` is the path of the data in a larger spec, for errors.

    Raises:
        SpecError: unknown key (with the nearest valid one), missing key, or a value of the wrong type.
    """
    where = where or kind.__name__
    if not isinstance(values, dict):
        raise SpecError(f"{where} is {short(values)}; expected a mapping of its fields")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    for key in values:
        if key not in fields:
            raise SpecError(f"{where} has no field {key!r}.{nearest(str(key), fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise SpecError(f"{where}.{name} is missing")
    return kind(**{key: convert(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def convert(hint: Any, value: Any, where: str) -> Any:
    """Plain data as the value of a field of type ``hint``: lists become tuples, and integers floats.

    Raises:
        SpecError: a value of another type, or a float that is not finite.
    """
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise SpecError(f"{where} is {short(value)}; expected a list")
        kinds = typing.get_args(hint)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(kinds) != len(value):
            raise SpecError(f"{where} is {short(value)}; expected {len(kinds)} values")
        return tuple(convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if isinstance(hint, types.UnionType):
        return from_dict(_kind_of(hint, value, where), value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf  # beyond the largest float
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        quotes = " (in YAML: within quotes)" if hint is str and isinstance(value, (bool, int, float)) else ""
        raise SpecError(f"{where} is {short(value)}; expected {hint.__name__}{quotes}")
    if hint is float and not math.isfinite(value):
        raise SpecError(f"{where} is {value}; expected a finite number")
    if hint is int and abs(value) >= 2**63:
        raise SpecError(f"{where} is {short(value)}; expected a number of at most 64 bits")
    return value


def short(value: Any) -> str:
    """``repr`` of a value, cut to 100 characters for an error message."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _kind_of(union: types.UnionType, value: Any, where: str) -> type:
    """The member of a union of spec dataclasses that the ``kind`` in ``value`` names."""
    kinds = {member.kind: member for member in typing.get_args(union)}
    if not isinstance(value, dict):
        raise SpecError(f"{where} is {short(value)}; expected a mapping of its fields, kind among them")
    given, known = value.get("kind"), ", ".join(map(repr, kinds))
    if not isinstance(given, str) or given not in kinds:
        raise SpecError(f"{where}.kind is {given!r}; expected one of {known}.{nearest(str(given), kinds)}")
    return kinds[given]


def spec_hash(spec: Any) -> str:
    """16 hex digits, equal for equal specs, over every field but ``added`` ones at their default."""
    resolved = from_dict(type(spec), to_dict(spec))  # so that a learning rate of 1 is one of 1.0
    text = json.dumps(recorded(resolved), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
