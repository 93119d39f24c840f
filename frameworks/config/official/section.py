"""One mapping of an official file, read key by key, so that no key is overlooked.

At the end of a section, a key that was not read is an error: the official code would ignore it, or fail, and either
way the file does not mean what its author thinks.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from frameworks.config.official.files import COMPONENTS, Origins
from frameworks.config.serialization import convert, short
from frameworks.config.validation import SpecError, nearest

_NEEDED = object()


@dataclass(frozen=True)
class LeftAside:
    """A key of an official file whose value is not in the spec, or not as it stands, and the reason."""

    key: str
    why: str


class Section:
    """A mapping of an official file; use it in a ``with`` statement, whose end refuses the keys that were not read.

    Args:
        values: the mapping.
        path: dotted path of the mapping in the file with a dot at the end, ``""`` at the top.
        file: the main file, which includes the others.
        origins: the file of each key.
        left_aside: the account that all sections of a file add to.
    """

    def __init__(
        self, values: dict[Any, Any], path: str, file: Path, origins: Origins, left_aside: list[LeftAside]
    ) -> None:
        self._values, self._path, self._file = values, path, file
        self._origins, self._left_aside = origins, left_aside
        self._read: dict[str, None] = {}  # keys in order

    def __enter__(self) -> "Section":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._refuse_unknown()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def holds(self, key: str, kind: type) -> bool:
        """Whether the value of a key is of a type, for keys whose values may have one of two."""
        return isinstance(self._values.get(key), kind)

    def take(self, key: str, kind: Any, default: Any = _NEEDED) -> Any:
        """The value of a key as the type ``kind``, see ``convert``; the official default where it is left out."""
        self._read[key] = None
        if key in self._values:
            return convert(kind, self._values[key], self.where(key))
        if default is _NEEDED:
            raise SpecError(f"{self.where(key)} is missing")
        return default

    def optional(self, key: str, kind: Any) -> Any:
        """The value of a key, or None where it is left out or null (``~``)."""
        self._read[key] = None
        return None if self._values.get(key) is None else self.take(key, kind)

    def only(self, key: str, *allowed: Any, default: Any = _NEEDED, why: str = "the spec has no other") -> Any:
        """The value of a key; raises SpecError, with the reason ``why``, for values that are not ``allowed``."""
        self._read[key] = None
        if key not in self._values and default is _NEEDED:
            raise SpecError(f"{self.where(key)} is missing; expected {_listed(allowed)}")
        value = self._values.get(key, default)
        # 0 and false, or 1 and true, are equal in Python and different in a file.
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
            self.refuse(key, value, f"expected {_listed(allowed)}: {why}")
        return value

    def refuse(self, key: str, value: Any, expected: str) -> NoReturn:
        """Raise SpecError about the value of a key, whether it is given or a default."""
        given = f"is {short(value)}" if key in self._values else f"is left out, which means {value!r}"
        raise SpecError(f"{self.where(key)} {given}; {expected}")

    def aside(self, why: str, *keys: str) -> None:
        """Read keys that change no result, and add those that are given to the account."""
        for key in keys:
            self._read[key] = None
            if key in self._values:
                self.note(key, why)

    def note(self, key: str, why: str) -> None:
        """Add a key to the account."""
        self._left_aside.append(LeftAside(f"{self._path}{key}", why))

    def section(self, key: str) -> "Section":
        """The section of that name; where there is none, an empty one, all of whose values are defaults."""
        return self._below(key, self.take(key, dict, {}))

    def sections(self, key: str) -> list["Section"]:
        """The mappings of a list as sections, in order."""
        return [
            self._below(f"{key}[{index}]", convert(dict, value, self.where(f"{key}[{index}]")))
            for index, value in enumerate(self.take(key, list, []))
        ]

    def unused_components(self) -> None:
        """Add the sections of building blocks that this model does not use to the account."""
        unused = [name for name in COMPONENTS if name not in self._read]
        self.aside("a building block that this model does not take", *unused)

    def where(self, key: str) -> str:
        """The dotted path of a key for messages, with its file in front where that is an included one."""
        path = known = f"{self._path}{key}"
        while known and known not in self._origins:
            known = known.rpartition("[" if known.endswith("]") else ".")[0]
        origin = self._origins.get(known, self._file)
        return path if origin == self._file else f"{origin}: {path}"

    def _below(self, key: str, values: dict[Any, Any]) -> "Section":
        return Section(values, f"{self._path}{key}.", self._file, self._origins, self._left_aside)

    def _refuse_unknown(self) -> None:
        for key in self._values:
            if key not in self._read:
                raise SpecError(f"{self.where(key)} is no key of the official form.{nearest(str(key), self._read)}")


def _listed(values: tuple[Any, ...]) -> str:
    return " or ".join(map(repr, values))
