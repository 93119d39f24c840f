"""Reads and writes YAML mappings, strictly: errors with line and column, no key twice, ``1e-4`` is a number."""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from frameworks.config.validation import SpecError
from frameworks.files import require_file

# PyYAML follows YAML 1.1, where 1e-4 and 1.5e3 are text because they have no dot or no sign.
_EXPONENT = re.compile(r"^[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9_]+)[eE][-+]?[0-9]+$")
_FLOAT = "tag:yaml.org,2002:float"
_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
MOST_BYTES = 2**18  # of a file; the names of a thousand classes take a tenth of it
MOST_VALUES = 100_000
MOST_LEVELS = 100
MOST_DIGITS = 1000  # and other letters of a value that is not text
# Errors of Python that PyYAML raises for a value that does not fit its tag (month 13, `!!bool x`).
_BAD_VALUES = (ValueError, LookupError, AttributeError, TypeError, OverflowError)


class _TooDeepError(Exception):
    pass


class _TooManyError(Exception):
    pass


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses a key that occurs twice and what takes a file too far.

    That is nesting that is too deep, merge keys (``<<``) that multiply mappings, and endless numbers.
    """

    depth = 0
    merged = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MOST_LEVELS:  # below Python's recursion limit, which other packages change
            raise _TooDeepError
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                problem = f"the key {key.value!r} occurs here a second time"
                raise ConstructorError(None, None, problem, key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put the entries of the mappings that ``<<`` names before the node's own, which replace them."""
        pairs, node.value = node.value, []  # empty, so that a mapping that merges itself ends
        own, merged = [], []
        for key, value in pairs:
            if key.tag != _MERGE:
                own.append((key, value))
                continue
            for each in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(each, yaml.MappingNode):
                    raise ConstructorError(None, None, "<< takes a mapping or a list of them", each.start_mark)
                self.flatten_mapping(each)
                self.merged += 1 + len(each.value)
                if self.merged > MOST_VALUES:
                    raise _TooManyError
                merged += each.value
        node.value = merged + own

    def construct_scalar(self, node: Any) -> Any:
        """The text of a value; for those that are not text (numbers, dates) it is not endless."""
        if isinstance(node, yaml.ScalarNode) and node.tag != _TEXT and len(node.value) > MOST_DIGITS:
            problem = f"a value of {len(node.value)} characters that is no text"
            raise ConstructorError(None, None, problem, node.start_mark)
        return super().construct_scalar(node)


class _Dumper(yaml.SafeDumper):
    """Writes lists of plain values on one line, and text that `_Loader` would read as a number within quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    in_one_line = not any(isinstance(value, (dict, list)) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=in_one_line)


_Loader.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))
_Dumper.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))
_Dumper.add_representer(list, _represent_list)


def read_mapping(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file.

    Raises:
        SpecError: no such file, not text, not YAML (with line and column), a key twice, or no mapping.
    """
    require_file(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        text = content.decode("utf-8") if len(content) <= MOST_BYTES else ""
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise SpecError(f"{path} is a folder; expected a YAML file") from None
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not text (byte {error.start} is not UTF-8); expected a YAML file") from None
    if len(content) > MOST_BYTES:
        raise SpecError(f"{path} is larger than {MOST_BYTES} bytes; expected a spec")
    values = _parsed(path, text)
    if values is None:
        raise SpecError(f"{path} is empty; expected the fields of a spec")
    if not isinstance(values, dict):
        raise SpecError(f"{path} holds a {type(values).__name__}; expected a mapping, as in `model: ...`")
    return values


def read_value(place: str, text: str) -> Any:
    """The value that a text is in YAML, as ``1e-4``, ``[64, 128]`` or ``true``.

    Args:
        place: where the text stands, for errors.

    Raises:
        SpecError: the text is not YAML, with line and column after the place.
    """
    return _parsed(place, text)


def _parsed(path: Path | str, text: str) -> Any:
    try:
        return _limited(path, yaml.load(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        context = f" {error.context}" if error.context else ""
        raise SpecError(f"{path}{place}: not valid YAML: {error.problem}{context}") from None
    except ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
        raise SpecError(f"{path}:{line}:{column}: the character {error.character:#x} is not text") from None
    except _TooManyError:
        raise SpecError(f"{path} expands to more than {MOST_VALUES} values; expected a spec") from None
    except (_TooDeepError, RecursionError):
        raise SpecError(f"{path} is nested too deeply to be a spec (more than {MOST_LEVELS} levels)") from None
    except _BAD_VALUES as error:
        raise SpecError(f"{path}: a value is not what its form or tag says ({error})") from None


def _limited(path: Path | str, values: Any) -> Any:
    """``values``, unless aliases (``*name``) make them huge or contain themselves."""
    pending, count = [values], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > MOST_VALUES:
            raise SpecError(f"{path} expands to more than {MOST_VALUES} values; expected a spec")
        if isinstance(value, (dict, list, tuple, set)):
            pending.extend(value.values() if isinstance(value, dict) else value)
    return values


def merged(base: Any, changes: Any) -> Any:
    """``base`` with ``changes``: mappings key by key, all else and mappings of another ``kind`` replaced.

    A mapping for a list changes every mapping in that list.
    """
    if isinstance(base, list) and isinstance(changes, dict) and base:
        return [merged(value, changes) for value in base]
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    if "kind" in changes and changes["kind"] != base.get("kind"):
        return changes
    return base | {key: merged(base.get(key), value) for key, value in changes.items()}


def write_mapping(values: dict[str, Any]) -> str:
    """YAML text of plain data, in the given order, that ``read_mapping`` reads back unchanged."""
    return yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=116
    )
