"""Kill runs at random moments of every phase, resume them, and compare with uninterrupted ones in every bit.

    python -m experiments.tests.killed_runs --frameworks torch --kills 50

The moments are drawn from a seed. Runs are killed by SIGKILL, in training every third time their worker alone. What
was done is kept below reports/generated/resume: the same command goes on. Exit status 1 if a run differs.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.command import COMPLETE, FAILED, end_on_signals, parse_frameworks, run_command
from experiments.progress import Progress
from experiments.runs.host import GENERATED, ROOT
from experiments.tests.data_sets import shapes
from experiments.tests.runs import rows
from frameworks import ADAPTERS
from frameworks.arrays import load_arrays
from frameworks.errors import UserError
from reports.jsonl import read_lines
from reports.record_writer import append_all, keep_records
from reports.run import files
from reports.run.records import read_run

EPOCHS, STEPS_PER_EPOCH = 60, 3
UNSEEN = 9  # steps after which a checkpoint that nobody saw being written is waited for no longer
CLOCKS = {"seconds", "kernels_compiled", "compile_seconds", "first_step_seconds", "peak_memory_mb"}
PATIENCE_S = 900.0  # for a first start, which compiles
# Share of the kills in each phase, in the order of a run.
PHASES = {"start": 0.16, "compile": 0.08, "train": 0.36, "checkpoint": 0.2, "evaluate": 0.12, "report": 0.08}


@dataclass(frozen=True)
class Moment:
    """When a run is killed: in which phase, after which step, and how many seconds later."""

    phase: str
    step: int
    delay: float
    worker_alone: bool


def moments(framework: str, kills: int) -> list[Moment]:
    """The moments of a framework's run, in the order of the run."""
    draw, found = random.Random(f"kill {framework}"), []
    counts = {phase: round(kills * share) for phase, share in PHASES.items()}
    counts["train"] += kills - sum(counts.values())
    longest = {"start": 4.0, "compile": 40.0 if framework == "jittor" else 3.0, "train": 0.3, "checkpoint": 0.01}
    longest |= {"evaluate": 6.0, "report": 5.0}  # a resumed run starts again
    for phase, count in counts.items():
        steps = sorted(draw.randrange(EPOCHS * STEPS_PER_EPOCH - 2 * UNSEEN) for _ in range(count))
        for number, step in enumerate(steps):
            delay = draw.uniform(0, longest[phase])
            found.append(Moment(phase, step, delay, phase == "train" and number % 3 == 2))
    during = [each for each in found if each.phase in ("train", "checkpoint")]
    before = [each for each in found if each.phase in ("start", "compile")]
    after = [each for each in found if each.phase in ("evaluate", "report")]
    return before + sorted(during, key=lambda each: each.step) + after


@dataclass(frozen=True)
class KilledRun:
    """The run of a framework that is killed, in a folder with its data, caches and list of kills."""

    folder: Path
    framework: str

    @property
    def out(self) -> Path:
        """Its run folder."""
        return self.folder / "killed"

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, or go on with it. Its caches are its own: it compiles."""
        caches = {"XDG_CACHE_HOME": str(self.folder / "cache"), "JITTOR_HOME": str(self.folder / "cache")}
        arguments = ("--resume", str(self.out)) if (self.out / files.META).exists() else self.new(self.out)
        return _train(*arguments, **caches)

    def new(self, out: Path) -> tuple[str, ...]:
        """The arguments of a new run."""
        root = shapes(self.folder / "data", train=2 * STEPS_PER_EPOCH, val=3)
        model = ("--framework", self.framework, "--config", "tiny", "--image-size", "64", "--batch-size", "2")
        monitoring = ("--checkpoint-minutes", "0.01", "--validate-every", "6", "--keep-every", "10")
        return (*model, "--epochs", str(EPOCHS), *monitoring, "--data", str(root), "--out", str(out))

    def reached(self, moment: Moment) -> bool:
        """Whether the run is where it is to be killed; a phase that is over counts as reached."""
        place = self.out / self.framework
        match moment.phase:
            case "train":
                return _lines(place / files.STEPS) >= moment.step
            case "checkpoint":
                count = _lines(place / files.STEPS)
                writes = place.exists() and any(place.glob("checkpoint.safetensors.new*"))
                return count >= moment.step and (writes or count > moment.step + UNSEEN)
            case "evaluate":
                return _lines(place / files.EPOCHS) >= EPOCHS
            case "report":
                return (self.out / files.COMPLETE).exists()
        return True  # a time after the start

    def kill(self, moment: Moment) -> bool:
        """Start it and kill it at its moment; False if it was over before."""
        process, end = self.start(), time.monotonic() + PATIENCE_S
        try:
            while process.poll() is None and not self.reached(moment):
                if time.monotonic() > end:
                    raise UserError(f"{self.out}: does not come to {moment} within {PATIENCE_S:g} s")
                time.sleep(0 if moment.phase == "checkpoint" else 0.01)
            time.sleep(moment.delay)
            if process.poll() is not None:
                return False
            if moment.worker_alone:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
                for child in children.split():
                    os.kill(int(child), signal.SIGKILL)
            else:
                process.kill()
            process.wait(PATIENCE_S)
            return True
        finally:
            process.kill()


def _train(*arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "experiments/train.py"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _without_clocks(path: Path) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row.keys() - CLOCKS} for row in rows(path)]


def differences(one: Path, other: Path) -> Iterator[str]:
    """In words, what differs between the folders of a framework in two runs, but for what a clock says."""
    for name in (files.STEPS, files.EPOCHS, files.EVALUATION):
        if _without_clocks(one / name) != _without_clocks(other / name):
            yield name
    weights = sorted(path.name for path in other.glob("*.safetensors"))
    if weights != sorted(path.name for path in one.glob("*.safetensors")):
        yield "names of the checkpoints"
        return
    for name in weights:
        states = load_arrays(one / name), load_arrays(other / name)
        if states[0].keys() != states[1].keys():
            yield f"{name}: names of arrays"
        elif differ := [key for key, array in states[0].items() if not np.array_equal(array, states[1][key])]:
            yield f"{name}: {len(differ)} arrays, first {differ[0]}"
    for name in map(files.predictions, ("train", "val")):
        if (one / name).read_bytes() != (other / name).read_bytes():
            yield name


def leftovers(run: Path) -> list[str]:
    """Files and folders with temporary names below a run folder."""
    found = (path.name for pattern in (".*", "*.new", "*.part") for path in run.rglob(pattern))
    return sorted(name for name in found if name != ".lock")


def examine(framework: str, kills: int, folder: Path, progress: Progress) -> list[str]:
    """Run a framework without and with kills, as far as that was not done before; what differs, in words."""
    killed, whole, records = KilledRun(folder, framework), folder / "whole", folder / "kills.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    if not (whole / files.COMPLETE).exists():
        shutil.rmtree(whole, ignore_errors=True)  # it is to be uninterrupted
        if _train(*killed.new(whole)).wait(PATIENCE_S):
            return ["the uninterrupted run failed"]
    done = len(keep_records(records, lambda record: True))
    for moment in moments(framework, kills)[done:]:
        hit = killed.kill(moment)
        append_all(records, [{"phase": moment.phase, "step": moment.step, "delay": moment.delay, "killed": hit}])
        progress.advance(waiting=f"{framework}: {moment.phase}")
    if killed.start().wait(PATIENCE_S):
        return ["the killed run does not end"]
    found = list(differences(killed.out / framework, whole / framework))
    if not read_run(killed.out).complete:
        found.append("the killed run is not complete")
    return found + [f"left behind: {name}" for name in leftovers(killed.out)]


def start(arguments: list[str] | None) -> int:
    """Examine the chosen frameworks; returns the exit status. Raises UserError for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tests.killed_runs", description=__doc__)
    parser.add_argument("--frameworks", default=",".join(ADAPTERS))
    parser.add_argument("--kills", type=int, default=50, help="of each framework (default: 50)")
    parser.add_argument("--out", type=Path, default=GENERATED / "resume")
    options = parser.parse_args(arguments)
    names, status = parse_frameworks(options.frameworks, ADAPTERS), COMPLETE
    with Progress("kills", len(names) * options.kills, unit="kill", waiting="the uninterrupted run") as progress:
        for name in names:
            folder = options.out.absolute() / f"{name}-{options.kills}"
            found = examine(name, options.kills, folder, progress)
            kills = [each for each in read_lines(folder / "kills.jsonl")[0] if each["killed"]]
            counts = {phase: sum(each["phase"] == phase for each in kills) for phase in PHASES}
            said = ", ".join(f"{phase} {count}" for phase, count in counts.items())
            print(f"{name}: {len(kills)} kills ({said}): {'; '.join(found) or 'equal in every bit'}", flush=True)
            status = FAILED if found or len(kills) < 0.8 * options.kills else status
    return status


if __name__ == "__main__":
    end_on_signals()
    sys.exit(run_command(lambda: start(None)))
