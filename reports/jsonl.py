"""Reading JSON and JSON-lines files so that a person is told which file and line is wrong."""

import json
from pathlib import Path
from typing import Any

from frameworks.errors import UserError


def read_text(path: Path) -> str:
    """The file's text; a UserError of one line when it is missing or is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def read_json(path: Path) -> Any:
    """The value of a JSON file; a UserError naming the file and the line where it stops being JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {error.lineno} is not JSON: {error.msg}") from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; a UserError when it holds anything else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def read_lines(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """The objects of a JSON-lines file, and a note when its last line was cut off while being written.

    Only a last line with no newline can be half-written: every other broken line is a UserError.
    """
    text = read_text(path)
    lines = text.split("\n")
    objects: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                return objects, f"{path.name}: line {number} was cut off while being written; it is left out"
            raise UserError(f"{path}: line {number} is not JSON: {error.msg}") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}: line {number} is {type(value).__name__}, expected a JSON object")
        objects.append(value)
    return objects, None
