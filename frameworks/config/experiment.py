"""The whole experiment in one value, as plain data and back, and its hash."""

import dataclasses
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from frameworks.config.model import ModelSpec
from frameworks.config.training import CriterionSpec, DataSpec, RecipeSpec
from frameworks.config.validation import SpecError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class ExperimentSpec:
    """Model, loss, recipe and data under one name. Everything that decides a result stands here."""

    name: str
    model: ModelSpec
    criterion: CriterionSpec
    recipe: RecipeSpec
    data: DataSpec


def to_dict(spec: Any) -> dict[str, Any]:
    """Nested plain data (JSON types; tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(spec)))


def from_dict(kind: type[T], values: dict[str, Any], where: str = "") -> T:
    """Rebuild a spec dataclass from plain data, strictly.

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
    """``value`` as a field of type ``hint``: lists become tuples, whole numbers floats; ``where`` is for errors.

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
    """What was given, in one line that can be read."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _kind_of(union: types.UnionType, value: Any, where: str) -> type:
    """The member of a union of specs that ``kind`` names."""
    kinds = {member.kind: member for member in typing.get_args(union)}
    if not isinstance(value, dict):
        raise SpecError(f"{where} is {short(value)}; expected a mapping of its fields, kind among them")
    given, known = value.get("kind"), ", ".join(map(repr, kinds))
    if not isinstance(given, str) or given not in kinds:
        raise SpecError(f"{where}.kind is {given!r}; expected one of {known}.{nearest(str(given), kinds)}")
    return kinds[given]


def spec_hash(spec: Any) -> str:
    """16 hex digits over the resolved content: two results with different hashes are different questions."""
    resolved = from_dict(type(spec), to_dict(spec))  # so that a learning rate of 1 is one of 1.0
    text = json.dumps(to_dict(resolved), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
