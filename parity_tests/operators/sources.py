"""The calls of a catalogue's file as text, read from its source: a table that shows them cannot drift."""

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path

CALLS = ("torch", "jittor", "instead")


@dataclass(frozen=True)
class Source:
    """Texts of the calls of an entry by framework, and a digest of the whole entry."""

    calls: dict[str, str]
    digest: str


def sources(path: Path) -> dict[str, Source]:
    """The entries of a file by name: calls with the keywords ``torch`` and ``jittor`` and a name in front."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        if {"torch", "jittor"} <= keywords.keys():
            texts = {name: _text(keywords[name], functions) for name in CALLS if name in keywords}
            parts = [*keywords.values(), *node.args]
            names = [n.id for part in parts for n in ast.walk(part) if isinstance(n, ast.Name)]
            used = [functions[name] for name in names if name in functions]
            code = "".join(
                ast.dump(part) for name, part in keywords.items() if name not in ("note", "twin", "defect")
            )
            digest = hashlib.sha256((code + "".join(map(ast.dump, used))).encode()).hexdigest()[:12]
            found[str(node.args[0].value)] = Source(texts, digest)
    return found


def _text(node: ast.expr, functions: dict[str, ast.FunctionDef]) -> str:
    """What a lambda computes; of a function all statements but docstring and imports, in one line."""
    if isinstance(node, ast.Lambda):
        return ast.unparse(node.body)
    if isinstance(node, ast.Name) and node.id in functions:
        body = [statement for statement in functions[node.id].body if not _says_nothing(statement)]
        return "; ".join(ast.unparse(statement).removeprefix("return ") for statement in body)
    return ast.unparse(node)


def _says_nothing(statement: ast.stmt) -> bool:
    docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return docstring or isinstance(statement, ast.ImportFrom)
