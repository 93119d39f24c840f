"""The table of --rename: the right's names of what the left calls otherwise, as data.

    [names]                                  # left = right
    "stem" = "conv1"                         # a module, and every parameter and module below it
    "layers.*.attention.q" = "blocks.*.wq"   # * stands for one part, the same on both sides
    "norm.weight" = "norm.gamma"             # one parameter

Parts are what stands between dots. The rule with the longest left applies; a name without a rule is the same on
both sides.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from frameworks.arrays import Arrays
from frameworks.errors import UserError
from frameworks.files import require_file


def read_names(path: Path | None) -> dict[str, str]:
    """The rules of a file, left -> right; none without a file.

    Raises:
        UserError: no such file, not TOML, or not one table ``[names]`` of strings with as many ``*`` on each side.
    """
    if path is None:
        return {}
    require_file(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"--rename {path}: cannot be read: {error}") from None
    rules = found.get("names")
    if not isinstance(rules, dict) or set(found) != {"names"}:
        raise UserError(f'--rename {path}: expected one table [names] with lines "left" = "right"')
    for left, right in rules.items():
        if not isinstance(right, str) or left.count("*") != right.count("*"):
            raise UserError(f"--rename {path}: {left!r} = {right!r}: expected text with as many * as on the left")
    return rules


def right_name(name: str, rules: Mapping[str, str]) -> str:
    """The right's name of what the left calls ``name``."""
    parts = name.split(".")
    for rule in sorted(rules, key=lambda rule: -len(rule.split("."))):
        pattern = rule.split(".")
        pairs = list(zip(pattern, parts, strict=False))
        if len(pattern) <= len(parts) and all(wanted in ("*", part) for wanted, part in pairs):
            stars = iter([part for wanted, part in pairs if wanted == "*"])
            translated = [next(stars) if part == "*" else part for part in rules[rule].split(".")]
            return ".".join([*translated, *parts[len(pattern) :]])
    return name


def left_names(names: Iterable[str], rules: Mapping[str, str]) -> dict[str, str]:
    """The left's name of each of the right's, for the left's ``names`` of modules and parameters."""
    return {right_name(name, rules): name for name in names}


def renamed(trace: Arrays, names: Mapping[str, str]) -> Arrays:
    """A trace with modules, parameters and statistics under other names; names that are not listed stay."""
    result: Arrays = {}
    for name, array in trace.items():
        kind, _, rest = name.partition("/")
        if kind in ("gradient", "statistic"):
            name = f"{kind}/{names.get(rest, rest)}"
        elif kind == "capture":
            module, _, tensor = rest.partition("/")
            name = f"{kind}/{names.get(module, module)}/{tensor}"
        result[name] = array
    return result
