"""The catalogue of faults: small text patches of one file each, read from the TOML files of this folder.

A table ``[[fault]]`` has a ``name`` that says what is wrong, ``why`` it happens to porters, its ``source``, and the
``blame``: patterns (as in file names) of the modules that a failing test may name as the culprit. What is patched:

- ``module = "decoder"`` with ``both = [find, replace]``, or ``torch`` and ``jittor`` where the twins' texts differ
- or ``file = "frameworks/shared/schedules.py"`` with ``shared = [find, replace]``

``equivalent`` is the argument why a fault changes no result: one for all, or a table by twin. ``wanted`` says of a
known survivor what would find it.
"""

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
TWINS = ("torch", "jittor")


@dataclass(frozen=True)
class Mutant:
    """One fault planted in one place."""

    area: str  # stem of its TOML file
    name: str
    planted_in: str  # "torch", "jittor", or "shared" for code that both twins use
    file: str  # relative to the repository
    find: str
    replace: str
    why: str
    source: str
    blame: tuple[str, ...]
    equivalent: str  # "" where the fault must be found
    wanted: str  # of a known survivor: what would find it

    def patched(self, source: str) -> str:
        """The text of its file with the fault. Raises ValueError unless ``find`` occurs exactly once."""
        if (count := source.count(self.find)) != 1:
            raise ValueError(f"{self}: {self.file} has {count} places with the text {self.find!r}, expected one")
        return source.replace(self.find, self.replace)

    def blames(self, module: str) -> bool:
        """Whether naming ``module`` as the culprit is right."""
        return any(fnmatchcase(module, pattern) for pattern in self.blame)

    def __str__(self) -> str:
        return f"{self.area}: {self.name} [{self.planted_in}]"


def read_catalogue(folder: Path = FOLDER) -> list[Mutant]:
    """Every fault in every place where it is planted: PyTorch, shared code, then Jittor."""
    found = [
        mutant
        for path in sorted(folder.glob("*.toml"))
        for table in tomllib.loads(path.read_text("utf-8"))["fault"]
        for mutant in _planted(path.stem, table)
    ]
    order = ("torch", "shared", "jittor")
    return sorted(found, key=lambda mutant: order.index(mutant.planted_in))


def _planted(area: str, table: dict[str, Any]) -> list[Mutant]:
    texts = {twin: table[twin] for twin in (*TWINS, "shared") if twin in table}
    texts |= {twin: table["both"] for twin in TWINS if "both" in table}
    reason = table.get("equivalent", "")
    blame = table["blame"]
    return [
        Mutant(
            area,
            table["name"],
            place,
            table["file"] if "file" in table else f"frameworks/{place}_rtdetr/{table['module']}.py",
            find,
            replace,
            table["why"],
            table["source"],
            (blame,) if isinstance(blame, str) else tuple(blame),
            reason if isinstance(reason, str) else reason.get(place, ""),
            table.get("wanted", ""),
        )
        for place, (find, replace) in texts.items()
    ]
