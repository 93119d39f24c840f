"""Records of the operator atlas: verdicts, entries of the catalogue, and what was found about each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frameworks.errors import UserError
from reports.jsonl import read_lines

# Verdicts on one pass with one input in one dtype. "off alike": both answer the same, which isn't the truth;
# "other choice": both satisfy the truth, which leaves a choice.
SAME, OFF_ALIKE, OTHER_CHOICE = "same", "off alike", "other choice"
DIFFERS, TORCH_OFF, BOTH_OFF = "differs", "torch off", "both off"
MISSING, RAISES, CRASHES, HANGS = "missing", "raises", "crashes", "hangs"
# Verdict on an operator: that of its worst case, in this order.
OVERALL = {
    CRASHES: (CRASHES, HANGS),
    MISSING: (MISSING,),
    RAISES: (RAISES,),
    DIFFERS: (DIFFERS, OTHER_CHOICE, TORCH_OFF, BOTH_OFF),
    SAME: (SAME, OFF_ALIKE),
}
PASSES = ("forward", "gradient")
Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One pass of one operator with one input in one dtype; ``found`` is its part of the record."""

    inputs: str
    dtype: str
    passed: str
    found: Record

    @property
    def verdict(self) -> str:
        """One of the verdicts above."""
        return self.found["verdict"]


@dataclass(frozen=True)
class Examined:
    """An operator: its entry in the catalogue, and all its cases."""

    entry: Record
    cases: list[Case]

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.entry["entry"]

    @property
    def verdict(self) -> str:
        """The verdict on the worst case."""
        found = {case.verdict for case in self.cases}
        return next(word for word, verdicts in OVERALL.items() if found & set(verdicts))

    @property
    def apart(self) -> list[Case]:
        """The cases that are not the same."""
        return [case for case in self.cases if case.verdict not in OVERALL[SAME]]

    @property
    def mended(self) -> tuple[int, int]:
        """In how many cases the code instead of the operator's call is right or as PyTorch's, and of how many."""
        words = [case.found["instead"] for case in self.cases if "instead" in case.found]
        return sum(word in (*OVERALL[SAME], TORCH_OFF) for word in words), len(words)


def examined(records: Path) -> list[Examined]:
    """The operators of a file of records in the order of the catalogue, those without cases left out.

    Raises:
        UserError: there is none.
    """
    lines = read_lines(records)[0]
    entries = {line["entry"]: line for line in lines if "entry" in line}
    cases: dict[str, list[Case]] = {name: [] for name in entries}
    for line in lines:
        if line.get("operator") in cases:
            cases[line["operator"]] += [
                Case(line["inputs"], line["dtype"], passed, line[passed]) for passed in PASSES if passed in line
            ]
    found = [Examined(entry, cases[name]) for name, entry in entries.items() if cases[name]]
    if not found:
        raise UserError(f"{records}: no operator in it; expected the records of python -m parity_tests.operators")
    return found
