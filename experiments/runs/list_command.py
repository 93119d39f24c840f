"""The command of experiments/runs.py: a folder of runs as a list, one run in detail, several side by side."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from experiments.command import COMPLETE, Parser, run_command
from experiments.runs.host import GENERATED
from experiments.runs.overview import (
    BROKEN,
    FAILED,
    FOREIGN,
    INTERRUPTED,
    EntryOverview,
    RunOverview,
    read_overview,
)
from frameworks.errors import UserError, printable
from reports.run import files

ABSENT = "-"
ORDERS: dict[str, Callable[[RunOverview], Any]] = {
    "date": lambda run: run.created,
    "name": lambda run: run.name,
    "state": lambda run: run.state,
    "ap": lambda run: max((ap for ap in run.last_ap() if ap is not None), default=-1.0),
    "minutes": lambda run: run.minutes or 0.0,
    "size": lambda run: run.bytes,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments))


def start(arguments: list[str] | None) -> int:
    """Do what the arguments of experiments/runs.py ask for; returns the exit status. Raises UserError."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["compare"]:
        return _compare(given[1:])
    asked = _parser().parse_args(given)
    if asked.command == "list":
        _list(asked)
    else:
        _show(asked)
    return COMPLETE


def _list(asked: argparse.Namespace) -> None:
    runs = sorted(find_runs(asked.folder), key=lambda run: (ORDERS[asked.sort](run), run.name))
    if asked.reverse:
        runs.reverse()
    if asked.json:
        print(json.dumps([run.record() for run in runs], indent=1))
        return
    print(table(runs) if runs else f"no folder in {printable(str(asked.folder))}")
    for run in runs:
        if run.state == BROKEN:
            print(printable(f"{run.state}: {run.name}: {run.problem}"))


def find_runs(folder: Path) -> list[RunOverview]:
    """The folders in ``folder``, in the order of their names; a run folder itself gives itself alone.

    Raises:
        UserError: there is no such folder, or it cannot be read.
    """
    if (folder / files.META).is_file():
        return [read_overview(folder)]
    try:
        return [read_overview(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; give a folder that holds run folders") from None


def table(runs: list[RunOverview]) -> str:
    """The list as a table, one row for each folder."""
    head = ("date", "name", "preset", "recipe", "images", "frameworks", "state", "AP val", "minutes", "size")
    rows = [[printable(cell) for cell in _row(run)] for run in runs]
    right = ("images", "AP val", "minutes", "size")
    align = ["right" if name in right else "left" for name in head]
    return tabulate(rows, headers=head, disable_numparse=True, colalign=align, tablefmt="simple")


def _row(run: RunOverview) -> list[str]:
    done = [entry.epochs for entry in run.entries]
    reached = f", {sum(done)}/{len(done) * run.epochs} epochs" if run.epochs and run.state == INTERRUPTED else ""
    return [
        run.created.replace("T", " ").removesuffix("Z") or ABSENT,
        run.name,
        Path(run.preset).name or ABSENT,
        run.recipe_name or ABSENT,
        ABSENT if run.train_images is None else str(run.train_images),
        ", ".join(run.frameworks) or ABSENT,
        run.state + reached,
        " / ".join(map(_ap, run.last_ap())) or ABSENT,
        ABSENT if run.minutes is None else f"{run.minutes:.1f}",
        ABSENT if run.state == FOREIGN else size(run.bytes),
    ]


def _show(asked: argparse.Namespace) -> None:
    if not asked.run.is_dir():
        raise UserError(f"{asked.run}: there is no such folder; python experiments/runs.py list shows the runs")
    run = read_overview(asked.run)
    if asked.json:
        print(json.dumps(run.record(), indent=1))
        return
    if run.state in (BROKEN, FOREIGN):
        raise UserError(f"{asked.run}: {run.state}: {run.problem}")
    print("\n".join(f"{name:<12} {printable(value)}" for name, value in _facts(run).items() if value))
    head = ("", "epochs", "AP val", "AP50 val", "AP train", "minutes", "peak MB", "failure")
    rows = [[printable(cell) for cell in _entry_row(entry, run.epochs)] for entry in run.entries]
    print("\n" + tabulate(rows, headers=head, disable_numparse=True, tablefmt="simple"))


def _facts(run: RunOverview) -> dict[str, str]:
    resume = f"python experiments/run.py --resume {shlex.quote(run.path)}"
    unfinished = run.state in (INTERRUPTED, FAILED)
    report = Path(run.path) / "report.md"
    return {
        "run": run.path,
        "state": run.state + (f"; go on with: {resume}" if unfinished else ""),
        "created": run.created,
        "command": run.command,
        "preset": run.preset,
        "recipe": run.recipe,
        "data": run.data,
        "images": f"{run.train_images} training, {run.val_images} validation, {run.image_size}",
        "training": f"{run.epochs} epochs, batch {run.batch_size}, seed {run.seed}, {run.device}",
        "size": size(run.bytes),
        "report": str(report) if report.is_file() else "",
    }


def _entry_row(entry: EntryOverview, epochs: int | None) -> list[str]:
    val, train = entry.ap.get("val", {}), entry.ap.get("train", {})
    memory = entry.peak_memory_mb
    return [
        entry.name,
        f"{entry.epochs} of {epochs}",
        *(_ap(each) for each in (val.get("AP"), val.get("AP50"), train.get("AP"))),
        f"{entry.seconds / 60:.1f}",
        ABSENT if memory is None else f"{memory:.0f}",
        entry.failure or ABSENT,
    ]


def _compare(arguments: list[str]) -> int:
    try:
        # here: it draws figures, and the list does without matplotlib
        from reports.compare import main as compare  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise UserError(f"runs cannot be compared here: {error}; reinstall with pip install -e .") from None
    return compare(arguments)


def _ap(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"


def size(count: int) -> str:
    """A number of bytes for people: `12 kB`, `3.4 MB`, `1.2 GB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _parser() -> Parser:
    parser = Parser(prog="python experiments/runs.py", description="Runs as a list.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|show|compare")
    listing = commands.add_parser("list", help="every run in a folder, one line each")
    where = "folder of run folders (default: reports/generated)"
    listing.add_argument("folder", nargs="?", type=Path, default=GENERATED, metavar="DIR", help=where)
    listing.add_argument("--sort", choices=ORDERS, default="date", help="default: date")
    listing.add_argument("--reverse", action="store_true", help="the last one first")
    show = commands.add_parser("show", help="one run: what it was, how far each framework came, its numbers")
    show.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    for parser_of_command in (listing, show):
        parser_of_command.add_argument("--json", action="store_true", help="everything that is known, as JSON")
    commands.add_parser("compare", help="several runs side by side: python -m reports.compare")
    return parser
