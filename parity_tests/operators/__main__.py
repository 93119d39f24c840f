"""The operator atlas: PyTorch and Jittor against a NumPy truth, on ordinary and edge inputs, in both dtypes.

    python -m parity_tests.operators

Jittor runs in a process of its own, so that a crash is a result. A second call goes on where the first one stopped
and asks again what changed in the catalogue. Ends with the page. ``--only NAME`` asks one operator without records.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from frameworks.errors import UserError, exit_status
from frameworks.files import write_atomically
from parity_tests.operators.asking import Question, ask, questions
from parity_tests.operators.catalogue import described
from parity_tests.operators.process import JittorProcess
from reports.operators.page import build_page, summary
from reports.operators.records import examined
from reports.record_writer import append_all, keep_records

RECORDS = "operators.jsonl"
DEFAULT = Path(__file__).resolve().parents[2] / "reports/generated/operators"


def session(folder: Path) -> int:
    """Ask what the records in ``folder`` lack, and build the pages there; returns the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECORDS
    asked = questions()
    wanted = {question.identity for question in asked}
    lines = keep_records(path, lambda line: "operator" in line)
    known = {identity(line): line for line in lines}
    kept = [line for key, line in known.items() if key in wanted]
    write_atomically(path, "".join(f"{json.dumps(line)}\n" for line in [*described(), *kept]))
    with JittorProcess() as jittor:
        left = [question for question in asked if question.identity not in known]
        bar = tqdm(left, "operators", total=len(asked), initial=len(asked) - len(left), unit="case", mininterval=5)
        for question in bar:
            bar.set_postfix_str(question.operator.name, refresh=False)
            append_all(path, [ask(question, jittor)])
    print(summary(examined(path)))
    print(f"page: {build_page(path, folder)}")
    return 0


def identity(line: dict[str, Any]) -> tuple[str, ...]:
    """What a record is about: operator, label of the inputs, dtype, and the digest of the entry."""
    return line["operator"], line["inputs"], line["dtype"], line["digest"]


def show(name: str) -> int:
    """Ask everything about one operator and print the records; returns the exit status."""
    asked: list[Question] = [question for question in questions() if question.operator.name == name]
    if not asked:
        raise UserError(f"--only {name!r}: there is no such operator; the page has their names")
    with JittorProcess() as jittor:
        for question in asked:
            print(json.dumps(ask(question, jittor)), flush=True)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command with ``arguments`` (default: those of the process); returns the exit status."""
    title = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m parity_tests.operators", description=title)
    parser.add_argument("--only", metavar="NAME", help="ask one operator and print its records")
    parser.add_argument("--out", type=Path, default=DEFAULT, metavar="DIR", help="folder of records and page")
    given = parser.parse_args(arguments)
    return exit_status(lambda: show(given.only) if given.only else session(given.out))


if __name__ == "__main__":
    sys.exit(main())
