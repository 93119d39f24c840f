"""Resident memory of a long training: it must stay flat, or a long run ends without memory.

    python -m experiments.benchmarks.memory

Trains each framework on drawn shapes, from 0 to 6 objects an image, with the loop, the recipe and the processes of
a run on a CPU, checkpoints after every epoch included, and reads the resident size of the framework's process and
of the one that runs the loop. Writes ``memory.jsonl`` and ``memory.png``; ends with exit status 1 if a curve grows.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.benchmarks.memory_figure import draw
from experiments.benchmarks.new_folder import new_folder
from experiments.command import COMPLETE, FAILED, Parser, parse_frameworks, run_command
from experiments.data.shapes import write_shapes
from experiments.progress import say
from experiments.runs.data import Subset, choose_data
from experiments.runs.host import host_record, now
from experiments.runs.options import Options
from experiments.runs.recipe import resolve
from experiments.runs.stepper import Machine, Unavailable, open_stepper
from experiments.runs.training_loop import Training, train
from frameworks import ADAPTERS
from frameworks.arrays import Arrays
from frameworks.config import load_with_account, to_dict
from frameworks.errors import UserError
from frameworks.protocol import Detections, Stepper, StepRecord
from frameworks.state.initialisation import initial_weights
from frameworks.workers.client import WorkerFailure
from frameworks.workers.stepper import WorkerStepper
from reports.formatting import label, percent
from reports.record_writer import RecordWriter

RECORDS, FIGURE = "memory.jsonl", "memory.png"
IMAGES = 200
SETTLED = 200  # steps until everything that is kept has been allocated once
WINDOW, EVERY = 100, 5  # steps of a median, and between two readings
LIMIT = 0.02
RUNNER = "runner"  # the process of the loop

Samples = list[tuple[int, float]]  # steps so far, MB


@dataclass(frozen=True)
class Judgement:
    """One curve: MB of its windows, which begin after the steps of settling; the greatest growth, as a fraction."""

    windows: list[float]
    growth: float

    @property
    def begin(self) -> float:
        """MB right after the steps of settling."""
        return self.windows[0]

    @property
    def end(self) -> float:
        """MB at the end."""
        return self.windows[-1]

    @property
    def flat(self) -> bool:
        """Whether memory grew by no more than the limit."""
        return self.growth <= LIMIT


def judge(samples: Samples) -> Judgement:
    """Judge the resident sizes of a process after its first ``SETTLED`` steps.

    The size of a window of ``WINDOW`` steps is the median of its readings. Growth is the most that a window lies
    above any window before it, relative to the first one: falling is no leak, but rising again from there may be.

    Raises:
        UserError: fewer than two windows.
    """
    windows: dict[int, list[float]] = {}
    for step, size in samples:
        if step > SETTLED:
            windows.setdefault((step - SETTLED - 1) // WINDOW, []).append(size)
    if len(windows) < 2:
        raise UserError(f"{len(windows)} windows of {WINDOW} steps after the first {SETTLED}; expected 2 or more")
    medians = [statistics.median(windows[number]) for number in sorted(windows)]
    rises = [each - min(medians[: place + 1]) for place, each in enumerate(medians)]
    return Judgement(medians, max(rises) / medians[0])


def resident_mb(process: int) -> float:
    """Resident size of a process in MB. Raises UserError where /proc does not tell."""
    status = Path(f"/proc/{process}/status")
    try:
        found = [line for line in status.read_text().splitlines() if line.startswith("VmRSS:")]
    except OSError:
        found = []
    if not found:
        raise UserError(f"{status} has no VmRSS: memory can be measured on Linux only, while the process lives")
    return int(found[0].split()[1]) / 1024


class Watched:
    """A stepper of a run that hands ``read`` the number of steps so far after every ``EVERY``-th step."""

    def __init__(self, stepper: Stepper, read: Callable[[int], None]) -> None:
        self.stepper, self.read, self.steps = stepper, read, 0

    def step(
        self, batch: Arrays, learning_rates: list[float], ema_decay: float, update: bool = True, share: float = 1.0
    ) -> StepRecord:
        """As in ``Stepper``."""
        record = self.stepper.step(batch, learning_rates, ema_decay, update, share)
        self.steps += 1
        if self.steps % EVERY == 0:
            self.read(self.steps)
        return record

    def predict(self, images: Arrays) -> Detections:
        """As in ``Stepper``."""
        return self.stepper.predict(images)

    def state(self) -> Arrays:
        """As in ``Stepper``."""
        return self.stepper.state()

    def load(self, state: Arrays) -> None:
        """As in ``Stepper``."""
        self.stepper.load(state)

    def peak_memory_mb(self) -> float:
        """As in ``Stepper``."""
        return self.stepper.peak_memory_mb()


def measure(training: Training, name: str, folder: Path, writer: RecordWriter) -> dict[str, Samples]:
    """Train framework ``name`` and return the readings of its process and of this one.

    Args:
        folder: receives what a run writes: records, checkpoints, the log of the worker.
        writer: receives a record for every reading.

    Raises:
        Unavailable, WorkerFailure, FloatingPointError, UserError: as in a run.
    """
    curves: dict[str, Samples] = {name: [], f"{RUNNER}, {name}": []}
    processes: list[int] = []

    def read(step: int) -> None:
        for curve, process in zip(curves, processes, strict=True):
            curves[curve].append((step, resident_mb(process)))
            writer.append({"kind": "reading", "curve": curve, "step": step, "mb": curves[curve][-1][1]})

    folder.mkdir()
    weights = initial_weights(training.spec.model, training.seed)
    with open_stepper(name, Machine(), training.spec, weights, folder) as stepper:
        assert isinstance(stepper, WorkerStepper)
        processes += [stepper.process, os.getpid()]
        train(training, Watched(stepper, read), folder, name, say)
    return curves


def training_of(preset: str, steps: int, root: Path) -> Training:
    """A training of so many steps with the recipe that a run on a CPU has by default, on the shapes in ``root``.

    Raises:
        UserError: an unknown preset, or steps that are no whole epochs.
    """
    options = Options(subset=IMAGES, preset=preset, data=str(root))
    spec = resolve(options, load_with_account(preset)).spec
    per_epoch = IMAGES // spec.data.batch_size
    if steps % per_epoch:
        raise UserError(f"--steps is {steps}; expected a multiple of {per_epoch}, the steps of an epoch")
    _, data = choose_data(options.data, subset=IMAGES, seed=0)
    recipe = replace(spec.recipe, epochs=steps // per_epoch)
    return Training(replace(spec, recipe=recipe), Subset(data["train"].split, data["train"].ids), seed=0)


def start(arguments: list[str] | None) -> int:
    """Run the command line; returns the exit status. Raises UserError for wrong arguments."""
    given = _parser().parse_args(arguments)
    names = parse_frameworks(given.frameworks, ADAPTERS)
    least = SETTLED + 2 * WINDOW
    if given.steps < least:
        raise UserError(f"--steps is {given.steps}; expected {least} or more")
    with new_folder(given.out, "memory", "a measurement", RECORDS) as folder:
        return _measured(given, names, folder)


def _measured(given: argparse.Namespace, names: tuple[str, ...], folder: Path) -> int:
    curves: dict[str, Samples] = {}
    with tempfile.TemporaryDirectory() as scratch, RecordWriter(folder / RECORDS) as writer:
        root = Path(scratch) / "shapes"
        write_shapes(root, train=IMAGES, val=1, seed=0)
        training = training_of(given.preset, given.steps, root)
        writer.append({"kind": "session", "date": now(), "spec": to_dict(training.spec), "host": host_record()})
        for name in names:
            try:
                curves |= measure(training, name, Path(scratch) / name, writer)
            except (Unavailable, WorkerFailure, FloatingPointError) as error:
                raise UserError(f"{name}: {error}") from None
        writer.sync()
    return report(curves, training.spec.name, folder)


def report(curves: dict[str, Samples], preset: str, folder: Path) -> int:
    """Print a line for every curve and draw them; returns the exit status."""
    judgements = {curve: judge(samples) for curve, samples in curves.items()}
    for curve, found in judgements.items():
        growth = percent(found.growth) + ("" if found.flat else f", more than {LIMIT:.0%}: NOT FLAT")
        sizes = f"{found.begin:.1f} MB after step {SETTLED}, {found.end:.1f} MB at the end"
        print(f"{title(curve)}: {sizes}, greatest growth {growth}", flush=True)
    titles = {curve: title(curve) for curve in curves}
    changes = {
        curve: [
            (SETTLED + int(WINDOW * (place + 0.5)), 100 * (size / found.begin - 1))
            for place, size in enumerate(found.windows)
        ]
        for curve, found in judgements.items()
    }
    print(f"figure: {draw(curves, changes, titles, preset, folder / FIGURE)}", flush=True)
    return COMPLETE if all(found.flat for found in judgements.values()) else FAILED


def title(curve: str) -> str:
    """What a curve is called for people."""
    runner, _, name = curve.rpartition(", ")
    return f"process of the loop, training {label(name)}" if runner else f"process of {label(name)}"


def _parser() -> Parser:
    parser = Parser(prog="python -m experiments.benchmarks.memory", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--steps", type=int, default=2200, metavar="N", help="of each framework (default: 2200)")
    add("--frameworks", default=",".join(ADAPTERS), metavar="A,B", help=f"default: {','.join(ADAPTERS)}")
    add("--preset", default="tiny", metavar="NAME|FILE", help="default: tiny")
    add("--out", metavar="DIR", help="default: a new folder under reports/generated")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments))


if __name__ == "__main__":
    sys.exit(main())
