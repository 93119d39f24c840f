"""Plants every fault of the catalogue and records which tests find it; goes on where it was stopped."""

import datetime
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity_tests.mutants.catalogue import Mutant
from parity_tests.mutants.examination import examine
from parity_tests.mutants.stages import ALONE, NAMES, UNIT, stages_for
from parity_tests.mutants.workspace import Workspace, code_hash, key_of
from reports.record_writer import append_all, keep_records

MINUTES = 20  # after which an examination is ended: the fault made something wait for ever


@dataclass(frozen=True)
class Runner:
    """Where results are written and which stages are asked.

    ``memory``: folder of the stored traces of the twin without a fault. ``search``: whether a failing training pass
    names its culprit, which takes much longer than the pass.
    """

    results: Path
    memory: Path
    until: str = NAMES[-1]
    search: bool = True

    def run(self, mutants: Sequence[Mutant], workspace: Workspace) -> None:
        """Examine those that have no result yet. What was written so far stays, whatever ends this."""
        code = code_hash("frameworks", "parity_tests", "experiments")
        done = finished(self.results, self.until, self.search)
        waiting = [mutant for mutant in mutants if key_of(mutant, code) not in done]
        start = time.perf_counter()
        for number, mutant in enumerate(waiting):
            show_progress(len(mutants) - len(waiting) + number, len(mutants), number, start, mutant)
            began = time.perf_counter()
            result = {"status": "equivalent"} if mutant.equivalent else self.examined(mutant, workspace)
            until = UNIT if mutant.area in ALONE else self.until
            record = record_of(mutant, result, key_of(mutant, code), until, time.perf_counter() - began)
            record["searched"] = self.search
            append_all(self.results, [record])
            print(
                f"\r{record['status']:>10} {record['stage'] or '':<14} {record['seconds']:5.0f} s  {mutant}",
                flush=True,
            )

    def examined(self, mutant: Mutant, workspace: Workspace) -> dict[str, Any]:
        """Plant one fault and run the tests in a new process; what ``examination.examine`` found."""
        stages = stages_for(mutant.area, mutant.name, self.until)
        memory = self.memory / code_hash("frameworks", without=f"frameworks/{mutant.planted_in}_rtdetr")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["parity_tests.mutants.preloaded", "pytest"])
        with workspace.planted(mutant) as tree, tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "result.json"
            arguments = (str(tree), mutant.planted_in, stages, str(memory), str(out), self.search)
            process = context.Process(target=examine, args=arguments)
            process.start()
            try:
                process.join(60 * MINUTES)
                if process.is_alive():
                    return {"status": "killed", "stage": "time limit", "test": f"over {MINUTES} minutes"}
            finally:  # also at Ctrl-C
                process.kill()
                process.join()
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
        "blamed_where": result.get("blamed_where"),
        "blamed_by": result.get("blamed_by"),
        "blame": mutant.blame,
        "blame_right": mutant.blames(blamed) if blamed else None,
        "weak": result.get("weak"),
        "error": result.get("error"),
        "equivalent": mutant.equivalent,
        "wanted": mutant.wanted,
        "seconds": round(seconds, 1),
        "date": datetime.date.today().isoformat(),
    }


def finished(results: Path, until: str, search: bool = True) -> set[str]:
    """Keys that need no further examination.

    Others survived fewer stages than wanted now, or were killed without the search for the culprit.
    """
    return {
        record["key"]
        for record in keep_records(results, lambda record: True)  # without the line that a kill cut off
        if "key" in record
        if record["status"] == "equivalent"
        or (record["status"] == "killed" and record["searched"] >= search)
        or (record["status"] == "survived" and _reaches(record["until"], until))
    }


def _reaches(asked: str, wanted: str) -> bool:
    """Whether a fault that survived up to the stage ``asked`` need not be asked again up to ``wanted``."""
    return asked == UNIT or NAMES.index(asked) >= NAMES.index(wanted)


def show_progress(done: int, total: int, number: int, start: float, mutant: Mutant) -> None:
    """A bar that the next line overwrites, with the minutes that are left."""
    if not sys.stderr.isatty():
        return
    filled = "#" * (30 * done // max(total, 1))
    left = f", {(time.perf_counter() - start) / number * (total - done) / 60:.0f} min left" if number else ""
    print(f"\r[{filled:<30}] {done}/{total}{left}: {mutant}"[:110], end="", file=sys.stderr, flush=True)
