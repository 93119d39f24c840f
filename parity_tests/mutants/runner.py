"""Plants every fault of the catalogue and records which tests find it; goes on where it was stopped."""

import datetime
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity_tests.mutants.catalogue import TWINS, Mutant
from parity_tests.mutants.examination import examine
from parity_tests.mutants.stages import NAMES
from parity_tests.mutants.workspace import Workspace, code_hash, key_of
from reports.jsonl import read_lines

MINUTES = 20  # after which an examination is ended: the fault made something wait for ever
ALONE = ("data",)  # areas that no parity test imports: unit tests are asked
UNIT_TESTS = "experiments/tests"
UNIT = "unit tests"


@dataclass(frozen=True)
class Runner:
    """Where results are written and which stages are asked.

    ``memory``: folder of the stored traces of the twin without a fault.
    """

    results: Path
    memory: Path
    until: str = NAMES[-1]

    def stages(self) -> tuple[str, ...]:
        """The stages up to the last one wanted."""
        return NAMES[: NAMES.index(self.until) + 1]

    def run(self, mutants: Sequence[Mutant], workspace: Workspace) -> None:
        """Examine those that have no result yet. What was written so far stays, whatever ends this."""
        code = code_hash("frameworks", "parity_tests", "experiments")
        done = finished(self.results, self.until)
        waiting = [mutant for mutant in mutants if key_of(mutant, code) not in done]
        start = time.perf_counter()
        self.results.parent.mkdir(parents=True, exist_ok=True)
        for number, mutant in enumerate(waiting):
            show_progress(len(mutants) - len(waiting) + number, len(mutants), number, start, mutant)
            began = time.perf_counter()
            result = {"status": "equivalent"} if mutant.equivalent else self.examined(mutant, workspace)
            record = record_of(mutant, result, key_of(mutant, code), self.until, time.perf_counter() - began)
            append(self.results, record)
            print(f"\r{record['status']:>10} {record['stage'] or '':<14} {record['seconds']:5.0f} s  {mutant}")

    def examined(self, mutant: Mutant, workspace: Workspace) -> dict[str, Any]:
        """Plant one fault and run the tests in a new process."""
        stages, tests = (*self.stages(),), ["parity_tests"]
        if mutant.area in ALONE:
            return self._asked(mutant, workspace, (UNIT,), [UNIT_TESTS])
        if self.until != NAMES[-1]:
            tests = ["parity_tests", "--ignore=parity_tests/test_judge.py", "--ignore=parity_tests/test_mutants.py"]
        return self._asked(mutant, workspace, stages, tests)

    def _asked(
        self, mutant: Mutant, workspace: Workspace, stages: Sequence[str], tests: Sequence[str]
    ) -> dict[str, Any]:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", "scipy.optimize", "pytest", "hypothesis"])
        memory = self.memory / code_hash("frameworks", without=f"frameworks/{mutant.planted_in}_rtdetr")
        with workspace.planted(mutant) as tree, tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "result.json"
            arguments = (str(tree), mutant.planted_in, stages, tests, str(memory), str(out))
            process = context.Process(target=examine, args=arguments)
            process.start()
            process.join(60 * MINUTES)
            if process.is_alive():
                process.kill()
                process.join()
                return {"status": "killed", "stage": "time limit", "test": f"over {MINUTES} minutes"}
            if not out.exists():
                return {"status": "killed", "stage": "crash", "test": f"exit code {process.exitcode}"}
            return json.loads(out.read_text())


def record_of(mutant: Mutant, result: dict[str, Any], key: str, until: str, seconds: float) -> dict[str, Any]:
    """A line of the results."""
    blamed = result.get("blamed")
    return {
        "key": key,
        "area": mutant.area,
        "name": mutant.name,
        "planted_in": mutant.planted_in,
        "status": result["status"],
        "stage": result.get("stage"),
        "until": until,
        "test": result.get("test"),
        "blamed": blamed,
        "blamed_by": result.get("blamed_by"),
        "blame_right": mutant.blames(blamed) if blamed else None,
        "weak": result.get("weak"),
        "error": result.get("error"),
        "equivalent": mutant.equivalent,
        "seconds": round(seconds, 1),
        "date": datetime.date.today().isoformat(),
    }


def finished(results: Path, until: str) -> set[str]:
    """Keys that need no further examination: not those that survived fewer stages than wanted now."""
    if not results.exists():
        return set()
    return {
        record["key"]
        for record in read_lines(results)[0]
        if record["status"] in ("killed", "equivalent")
        or (record["status"] == "survived" and NAMES.index(record["until"]) >= NAMES.index(until))
    }


def append(results: Path, record: dict[str, Any]) -> None:
    """Write one line, to the disk at once; a line that was cut off by ``kill -9`` is ended first."""
    text = json.dumps(record) + "\n"
    with results.open("ab+") as file:
        if file.tell() and _last_byte(results) != b"\n":
            text = "\n" + text
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def show_progress(done: int, total: int, number: int, start: float, mutant: Mutant) -> None:
    """A bar that the next line overwrites, with the minutes that are left."""
    if not sys.stderr.isatty():
        return
    filled = "#" * (30 * done // max(total, 1))
    left = (time.perf_counter() - start) / number * (total - done) / 60 if number else float("nan")
    print(f"\r[{filled:<30}] {done}/{total}, {left:.0f} min left: {mutant}"[:110], end="", file=sys.stderr)


assert TWINS
