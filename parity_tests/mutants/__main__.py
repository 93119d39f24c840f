"""``python -m parity_tests.mutants``: plant the faults of the catalogue and print what became of them."""

import argparse
import signal
import sys
from collections import Counter
from pathlib import Path

from frameworks.errors import UserError, exit_status
from parity_tests.mutants.catalogue import ROOT, read_catalogue
from parity_tests.mutants.runner import Runner
from parity_tests.mutants.stages import NAMES
from parity_tests.mutants.workspace import key_of, workspace
from reports.jsonl import read_lines
from reports.record_writer import append_all, keep_records

GENERATED = ROOT / "reports/generated/mutants"


def main() -> int:
    """The command; returns the exit status."""
    return exit_status(examine_chosen)


def examine_chosen() -> int:
    """Examine the chosen faults, those without a result first of all."""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.mutants", description=__doc__)
    parser.add_argument("--in", dest="planted_in", choices=("torch", "jittor", "shared"), help="only these")
    parser.add_argument("--area", action="append", help="only the faults of this file of the catalogue")
    parser.add_argument("--name", help="only faults with this text in their names")
    parser.add_argument("--until", choices=NAMES, default=NAMES[-1], help="the last stage to ask (default: all)")
    parser.add_argument(
        "--search",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="search for the culprit of a failing training pass, which takes most of the time (default: yes)",
    )
    parser.add_argument("--results", type=Path, default=GENERATED / "results.jsonl")
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in read_catalogue()
        if options.planted_in in (None, mutant.planted_in)
        and (not options.area or mutant.area in options.area)
        and (options.name or "") in mutant.name
    ]
    # The argued ones cost nothing; of the others, those that a stopped run has examined are a fair sample.
    chosen.sort(key=lambda mutant: (not mutant.equivalent, key_of(mutant, "")))
    if not chosen:
        raise UserError("no fault of the catalogue is chosen; see parity_tests/mutants/*.toml")
    listed = [[mutant.area, mutant.name, mutant.planted_in] for mutant in read_catalogue()]
    options.results.parent.mkdir(parents=True, exist_ok=True)
    if {"catalogue": listed} not in keep_records(options.results, lambda record: True):
        append_all(options.results, [{"catalogue": listed}])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends the examination and its folder too
    with workspace() as tree:
        Runner(options.results, GENERATED / "traces", options.until, options.search).run(chosen, tree)
    last = {record["key"]: record["status"] for record in read_lines(options.results)[0] if "key" in record}
    print(", ".join(f"{count} {status}" for status, count in sorted(Counter(last.values()).items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
