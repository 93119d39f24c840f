"""Sizes that no linter counts: lines of a file and of a function."""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 350, 40


def python_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split()]


def too_long(source: str) -> list[str]:
    """Names of the functions of ``source`` that have too many lines."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= MOST_LINES_OF_A_FUNCTION]


def test_files_are_short():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in python_files()}
    assert len(lengths) > 100
    assert not {str(path): n for path, n in lengths.items() if n > MOST_LINES_OF_A_FILE}


def test_functions_are_short():
    found = {str(path): too_long(path.read_text("utf-8")) for path in python_files()}
    assert not {path: names for path, names in found.items() if names}


def test_a_long_function_is_found():
    body = "\n".join(f"    x = {i}" for i in range(MOST_LINES_OF_A_FUNCTION))
    assert too_long(f"def long():\n{body}\n") == ["long"]
    assert not too_long("def short():\n    x = 0\n")
