"""Single values of a spec by dotted paths, as ``-u recipe.epochs=50`` gives them on a command line."""

from collections.abc import Iterable, Iterator
from typing import Any

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.mappings import merged, read_value
from frameworks.config.serialization import from_dict, to_dict
from frameworks.config.validation import SpecError, nearest


def with_settings(spec: ExperimentSpec, settings: Iterable[str]) -> ExperimentSpec:
    """``spec`` with the values of texts ``key=value``.

    Args:
        settings: a key is a dotted path, with places in a list counted from 0 (``recipe.groups.0.lr``); a value is
            read as YAML. A mapping changes the fields that it gives.

    Raises:
        SpecError: no ``=``, an unknown key (with the nearest one), or a wrong value.
    """
    plain = to_dict(spec)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise SpecError(f"-u {setting}: expected key=value, as in recipe.epochs=50")
        if path not in dict(paths(plain)):
            hint = nearest(path, dict(paths(plain)))
            raise SpecError(f"-u {setting}: the spec has no field {path!r}.{hint}")
        _set(plain, path.split("."), read_value(f"-u {setting}", text))
    try:
        return from_dict(ExperimentSpec, plain)
    except SpecError as error:
        raise SpecError(f"-u: {error}") from None


def paths(plain: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in plain data: mappings and lists, and what is in them."""
    below = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in below:
        path = f"{where}.{key}" if where else str(key)
        yield path, value
        yield from paths(value, path)


def _set(plain: Any, keys: list[str], value: Any) -> None:
    first, *rest = keys
    place: Any = int(first) if isinstance(plain, list) else first
    if rest:
        _set(plain[place], rest, value)
    else:
        plain[place] = merged(plain[place], value)
