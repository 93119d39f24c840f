"""Clean runs: the judge must find nothing in random models, weights and inputs.

    python -m parity_tests.clean_runs

Every run is a training pass of all frameworks, in float64 and float32, judged with the limits of the parity tests.
A second call goes on where the first one stopped. ``--run N`` repeats one run and prints its record. Ends with
exit status 1 if a run failed.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from frameworks.errors import exit_status
from frameworks.shared import kernels
from parity_tests.clean_runs.judging import run
from parity_tests.traces import Workers
from reports.clean_runs import RECORDS, build_page, runs_of, summary
from reports.jsonl import read_lines
from reports.record_writer import append_all, keep_records

DEFAULT = Path(__file__).resolve().parents[2] / "reports/generated/clean_runs"


def session(runs: int, folder: Path) -> int:
    """Do the runs that the records in ``folder`` lack, and build the page; returns the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECORDS
    done = {record["run"] for record in runs_of(keep_records(path, lambda record: True))}
    left = [number for number in range(runs) if number not in done]
    with ExitStack() as stack:
        workers = Workers(stack, {}, in_process=False, path=kernels.choice())
        for number in tqdm(left, "clean runs", total=runs, initial=runs - len(left), unit="run", mininterval=5):
            record = run(number, workers)
            lines = [record, *environments(workers)] if number == left[0] else [record]
            append_all(path, lines)
            if record["failed"]:
                again = f"python -m parity_tests.clean_runs --run {number}"
                tqdm.write(f"run {number} failed ({record['failed']}): {record['failures'][0]}; again: {again}")
    records = runs_of(read_lines(path)[0])
    print(summary(records))
    print(f"page: {build_page(path, folder)}")
    return int(any(record["failed"] for record in records))


def environments(workers: Workers) -> list[dict[str, Any]]:
    """A record of the environment of each worker."""
    found = {name: framework.environment(device) for (name, device), framework in workers.open.items()}
    return [{"environment": dict(facts) | {"name": name, "variables": None}} for name, facts in found.items()]


def one_run(number: int) -> int:
    """Repeat one run and print its record; returns the exit status."""
    with ExitStack() as stack:
        record = run(number, Workers(stack, {}, in_process=False, path=kernels.choice()))
    print(json.dumps(record, indent=1))
    return int(record["failed"] > 0)


def main(arguments: list[str] | None = None) -> int:
    """Run the command with ``arguments`` (default: those of the process); returns the exit status."""
    title = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m parity_tests.clean_runs", description=title)
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--run", type=int, metavar="N", help="repeat run N alone and print its record")
    parser.add_argument("--out", type=Path, default=DEFAULT, metavar="DIR", help="folder of records and page")
    given = parser.parse_args(arguments)
    if given.run is not None:
        return one_run(given.run)
    return exit_status(lambda: session(given.runs, given.out))


if __name__ == "__main__":
    sys.exit(main())
