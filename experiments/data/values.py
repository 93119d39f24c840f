"""Values of JSON and XML files, read as what they are: numbers and flags that a tool wrote as text are numbers.

Conversions are counted. What could mean several things is a TypeError or ValueError that says what was expected.
"""

import math
import re
from typing import Any

from experiments.data.findings import Tally

_WHOLE = re.compile(r"\s*[+-]?[0-9]+(\.0*)?\s*")
_FLAGS = {"0": False, "1": True, "false": False, "true": True}
AS_TEXT = "numbers or flags written as text"


def integer(row: dict[str, Any], key: str, tally: Tally) -> int:
    """The whole number `row[key]`: 12, 12.0, "12" or "12.0".

    Raises:
        KeyError: there is no `key`.
        TypeError: anything else.
        ValueError: a number of more than 64 bits.
    """
    value = row[key]
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        tally.add("changed", AS_TEXT, f"{key} {value!r}")
        value = int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        tally.add("changed", "whole numbers written with a decimal point", f"{key} {value}")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} is {value!r}, expected an integer")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{key} has more than 64 bits")
    return value


def number(value: Any, key: str, tally: Tally) -> float:
    """A finite number, also as text. Raises TypeError or ValueError for anything else."""
    if isinstance(value, str):
        result = float(value)
        tally.add("changed", AS_TEXT, f"{key} {value!r}")
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{key} holds {value!r}, expected a number")
    else:
        result = float(value)
    if not math.isfinite(result):
        raise ValueError(f"{key} {value} is not finite")
    return result


def flag(row: dict[str, Any], key: str, tally: Tally) -> bool:
    """The flag `row[key]`: 0, 1, false, true, or these as text; False where it is left out.

    Raises:
        ValueError: anything else, which could mean yes or no.
    """
    value = row.get(key, False)
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        tally.add("changed", AS_TEXT, f"{key} {value!r}")
        return _FLAGS[value.strip().lower()]
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise ValueError(f"{key} is {value!r}, expected 0 or 1")
    return bool(value)
