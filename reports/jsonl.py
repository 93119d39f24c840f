"""Read JSON and JSON-lines files; every error names the file and the line."""

import json
from pathlib import Path
from typing import Any

from frameworks.errors import UserError, said
from frameworks.files import require_file


def read_text(path: Path) -> str:
    """Read a text file. Raises UserError if it is missing or not UTF-8."""
    require_file(path)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError with file and line if it is not valid JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {error.lineno} is not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 1,000 levels
        raise UserError(f"{path}: is not JSON that can be read: {said(error)}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object. Raises UserError if it holds anything else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def read_lines(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """Read a JSON-lines file: its objects, and a note if its last line was cut off (None otherwise).

    Only a last line without a newline can be cut off. Raises UserError for every other broken line.
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
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: line {number} is not JSON that can be read: {said(error)}") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}: line {number} is {type(value).__name__}, expected a JSON object")
        objects.append(value)
    return objects, None
