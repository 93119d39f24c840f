"""How long commands take from an empty and from a warm cache: time one, and keep the result for docs/speed.md.

    python -m experiments.benchmarks.starts "nox -s parity" warm -- nox -s parity

``cold`` means that everything Jittor has compiled was removed before; this command removes nothing itself. A line
of reports/examples/starts.jsonl has ``what``, ``cache`` (cold or warm), ``minutes``, ``cpu``, ``cores``, ``date``,
``commit`` and ``command``.
"""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.command import FAILED, Parser, run_command
from experiments.runs.host import ROOT, host_record, now
from reports.jsonl import read_lines

STARTS = Path("reports/examples/starts.jsonl")
# Minutes on 2 quiet cores.
TARGETS = {
    ("run.py --subset 50", "cold"): 10.0,
    ("run.py --subset 50", "warm"): 8.0,
    ("nox -s parity", "cold"): 10.0,
    ("nox -s parity", "warm"): 6.0,
    ("first start of Jittor", "cold"): 1.25,
    (".ci/run", "cold"): 22.0,
}


def read_starts(root: Path = ROOT) -> list[dict[str, Any]]:
    """Every recorded start in ``root``, oldest first; none if there is no file."""
    return read_lines(root / STARTS)[0] if (root / STARTS).exists() else []


def start_rows(starts: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A table row per recorded start."""
    rows = []
    for start in starts:
        target = TARGETS.get((start["what"], start["cache"]))
        rows.append(
            {
                "what": f"`{start['what']}`",
                "cache": start["cache"],
                "minutes": f"{start['minutes']:.1f}",
                "target": "–" if target is None else f"≤ {target:g}",
                "machine": f"{start['cpu']}, {start['cores']} cores",
                "date": start["date"][:10],
                "commit": start["commit"][:12],
                "command": f"`{start['command']}`",
            }
        )
    return rows


def measure(what: str, cache: str, command: list[str], root: Path = ROOT) -> int:
    """Run ``command``, and append its time to the starts of ``root`` if it succeeds; returns its exit status."""
    host, date, begin = host_record(), now(), time.monotonic()
    status = subprocess.run(command, check=False).returncode
    minutes = (time.monotonic() - begin) / 60
    print(f"{shlex.join(command)}: {minutes:.2f} minutes, exit status {status}", flush=True)
    if status:
        print("not recorded: only a command that succeeds has a time", file=sys.stderr)
        return FAILED
    facts = {"what": what, "cache": cache, "minutes": round(minutes, 3), "cpu": host["cpu"], "cores": host["cores"]}
    line = facts | {"date": date, "commit": host["git_commit"], "command": shlex.join(command)}
    with (root / STARTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return 0


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command; returns the exit status."""

    def command() -> int:
        parser = Parser(
            prog="python -m experiments.benchmarks.starts", description="Time a command from its start."
        )
        parser.add_argument("what", help="its name on the page, for instance 'nox -s parity'")
        parser.add_argument("cache", choices=("cold", "warm"), help="what Jittor had compiled before")
        parser.add_argument("command", nargs="+", metavar="-- COMMAND", help="what to run")
        given = parser.parse_args(arguments)
        return measure(given.what, given.cache, given.command, root)

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
