"""One question of the atlas: an operator, its inputs and a dtype; the answer is a record."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from parity_tests.operators.catalogue import FAMILIES, digests
from parity_tests.operators.frameworks import in_torch
from parity_tests.operators.judging import judged
from parity_tests.operators.operator import DTYPES, Operator
from parity_tests.operators.process import JittorProcess
from parity_tests.operators.truth import expected_gradients, expected_outputs
from reports.operators.records import CRASHES, HANGS, MISSING, RAISES

PASSES = {"outputs": "forward", "gradients": "gradient"}
# What a call of something that Jittor doesn't have raises.
ABSENT = ("has no attribute", "unexpected keyword", "not found", "bad operand type")


@dataclass(frozen=True)
class Question:
    """An operator, a label of its inputs, a dtype, and the digest of its entry in the catalogue."""

    operator: Operator
    label: str
    dtype: str
    digest: str

    @property
    def identity(self) -> tuple[str, ...]:
        """What the record of this question is found by."""
        return self.operator.name, self.label, self.dtype, self.digest


def questions() -> list[Question]:
    """All questions of the catalogue, in its order; operators without floats are asked once."""
    known = digests()
    found = []
    for operators in FAMILIES.values():
        for operator in operators:
            for label, arrays in operator.inputs.items():
                floats = any(a.dtype.kind == "f" for a in arrays)
                dtypes = DTYPES if floats else DTYPES[:1]
                found += [Question(operator, label, dtype, known[operator.name]) for dtype in dtypes]
    return found


def ask(question: Question, jittor: JittorProcess) -> dict[str, Any]:
    """The record: a part for each pass with the verdict, errors, and a value that shows a difference."""
    operator, label, dtype = question.operator, question.label, question.dtype
    record: dict[str, Any] = {"operator": operator.name, "inputs": label, "dtype": dtype, "digest": question.digest}
    right = in_torch(operator, label, dtype)
    expected = {"outputs": expected_outputs(operator, label, dtype)}
    if "gradients" in right:
        expected["gradients"] = expected_gradients(operator, label, dtype)
    mine = jittor.ask(operator.name, "jittor", label, dtype)
    for what, one in expected.items():
        record[PASSES[what]] = _part(what, right, mine, one, dtype)
    if operator.instead:
        instead = jittor.ask(operator.name, "instead", label, dtype)
        for what, one in expected.items():
            record[PASSES[what]]["instead"] = _part(what, right, instead, one, dtype)["verdict"]
    return record


def _part(what: str, right: dict[str, Any], mine: dict[str, Any], expected: Any, dtype: str) -> dict[str, Any]:
    if "ended" in mine:
        assert mine["ended"] in (CRASHES, HANGS)
        return {"verdict": mine["ended"], "how": mine["how"]}
    errors: dict[str, list[str]] = mine.get("errors", {})
    if what not in mine:
        name, message = errors.get(what) or errors["outputs"]
        absent = name == "AttributeError" or any(words in message for words in ABSENT)
        return {"verdict": MISSING if absent else RAISES, "how": f"{name}: {message}".rstrip(": ")}
    answers = [np.asarray(answer) for answer in mine[what]]
    return judged(right[what], answers, expected, dtype)
