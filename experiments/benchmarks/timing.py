"""Time the frameworks: same weights, same batch, one process each, one at a time, interleaved in rounds.

Everything is written as records (see ``run``), from which the report is built.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.benchmarks.environment import environment_record, worker_variables
from experiments.record_writer import RecordWriter
from experiments.runs.host import now
from frameworks import REFERENCE
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, to_dict
from frameworks.errors import UserError
from frameworks.protocol import Case, Framework, Stepper
from frameworks.shared import drawn_inputs, kernels
from frameworks.shared.noise import denoising_count
from frameworks.shared.schedules import ema_decay, learning_rates
from frameworks.shared.tolerances import SAME_PREDICTIONS
from frameworks.state.parameters import state_shapes
from frameworks.workers.client import WorkerFailure, open_framework

CONTROL = f"{REFERENCE} again"  # label of the A/A control: the reference in a second process
TASKS = ("step", "inference")
AGREEMENT_SIZE = 192  # pixels
TARGETS_PER_IMAGE = (7, 4)  # COCO's mean is 7; the second image makes padding part of the work
SEED = "benchmark"
FAILURES = (WorkerFailure, FloatingPointError)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is timed. ``specs``: one experiment per image size, smallest first."""

    specs: tuple[ExperimentSpec, ...]
    frameworks: tuple[str, ...]
    rounds: int
    warm_up: int
    device: str
    pythons: dict[str, str]


@dataclass
class Entrant:
    """One label in the table: a framework in a process of its own."""

    label: str
    framework: Framework
    stepper: Stepper | None = None
    steps: int = 0  # optimizer steps of the present image size

    def step(self, inputs: "Inputs") -> tuple[float, dict[str, float]]:
        """One training step: its seconds and its loss terms."""
        assert self.stepper is not None
        recipe = inputs.spec.recipe
        rates = learning_rates(recipe, self.steps, epoch=0)
        self.steps += 1
        record = self.stepper.step(inputs.batch, rates, ema_decay(recipe, self.steps))
        return record.seconds, record.losses

    def infer(self, inputs: "Inputs") -> float:
        """Seconds of one inference with post-processing."""
        assert self.stepper is not None
        return self.stepper.predict(inputs.images).seconds


@dataclass(frozen=True)
class Inputs:
    """What every framework computes at one image size: arrays of a step (``batch``) and of an inference."""

    spec: ExperimentSpec
    batch: Arrays
    images: Arrays

    @property
    def size(self) -> int:
        """Side of the square images in pixels."""
        return self.spec.data.image_size[0]


@dataclass
class Session:
    """One benchmark in progress: where records and progress lines go, and the entrants that have not failed."""

    plan: Plan
    writer: RecordWriter
    say: Say
    weights: Arrays
    entrants: list[Entrant] = field(default_factory=list)

    def write(self, kind: str, **values: Any) -> None:
        """Append one record."""
        self.writer.append({"kind": kind, **values})

    def open(self, name: str) -> contextlib.AbstractContextManager[Framework]:
        """Start a framework in a worker process."""
        return open_framework(name, device=self.plan.device, python=self.plan.pythons.get(name))


def run(plan: Plan, writer: RecordWriter, say: Say) -> None:
    """Check that all frameworks compute the same, then time them.

    Records by ``kind``: environment, worker, agreement, first_call, timing, memory, failure.

    Raises:
        UserError: a framework is missing, or does not compute what the reference computes.
    """
    session = Session(plan, writer, say, drawn_inputs.weights(state_shapes(plan.specs[0].model), SEED))
    with worker_variables() as variables:
        session.write("environment", **environment_record(variables), **_plan_record(plan))
        check_agreement(session)
        with contextlib.ExitStack() as stack:
            _open_all(session, stack)
            for spec in plan.specs:
                _time_size(session, make_inputs(spec))


def check_agreement(session: Session) -> None:
    """Compare logits and boxes of evaluation mode in float64 with the reference's.

    In processes of their own: a float64 model would raise the peak memory of the processes that are timed.

    Raises:
        UserError: they differ by more than SAME_PREDICTIONS.
    """
    others = [name for name in session.plan.frameworks if name != REFERENCE]
    if not others:
        return
    case = Case("forward", session.plan.specs[0])
    inputs = {"images": drawn_inputs.images(1, AGREEMENT_SIZE, AGREEMENT_SIZE, SEED)}
    traces: dict[str, Arrays] = {}
    for name in (REFERENCE, *others):
        session.say(f"checking what {name} computes in float64")
        with session.open(name) as framework:
            device = session.plan.device
            traces[name] = framework.trace(case, session.weights, inputs, device=device, dtype="float64")
    facts = {"limit": SAME_PREDICTIONS, "image_size": AGREEMENT_SIZE, "dtype": "float64"}
    for name, tensor in itertools.product(others, ("pred_logits", "pred_boxes")):
        reference = traces[REFERENCE][f"forward/{tensor}"]
        difference = traces[name][f"forward/{tensor}"] - reference
        error = float(np.linalg.norm(difference) / np.linalg.norm(reference))
        session.write("agreement", framework=name, tensor=tensor, error=error, **facts)
        session.say(f"  {name} {tensor}: relative difference {error:.1e} (limit {SAME_PREDICTIONS:.0e})")
        if not error <= SAME_PREDICTIONS:  # NaN must not pass
            raise UserError(
                f"{name}'s {tensor} differ from {REFERENCE}'s by {error:.1e} in float64 (limit "
                f"{SAME_PREDICTIONS:.0e}): timings of two different models would say nothing"
            )


def make_inputs(spec: ExperimentSpec) -> Inputs:
    """Images, targets and denoising noise of one step, the same in every step; and the images of an inference."""
    (height, width), batch = spec.data.image_size, spec.data.batch_size
    per_image = tuple(itertools.islice(itertools.cycle(TARGETS_PER_IMAGE), batch))
    images = drawn_inputs.images(batch, height, width, SEED)
    arrays = {"images": images} | drawn_inputs.targets(SEED, per_image, spec.model.num_classes)
    if count := denoising_count(spec.model, arrays["counts"]):
        arrays |= drawn_inputs.noise(batch, count, SEED, spec.model.num_classes)
    return Inputs(spec, arrays, {"images": images, "sizes_wh": np.full((batch, 2), height, np.float32)})


def order_of(labels: list[str], turn: int) -> list[str]:
    """Order of a round: each label is first once per cycle; every other cycle runs backwards to mix neighbours."""
    if not labels:
        return []
    cycle, start = divmod(turn, len(labels))
    order = labels[start:] + labels[:start]
    return order[::-1] if cycle % 2 else order


def _open_all(session: Session, stack: contextlib.ExitStack) -> None:
    """Start one process per label; the reference gets a second one, the A/A control."""
    for label, name in [*((name, name) for name in session.plan.frameworks), (CONTROL, REFERENCE)]:
        session.say(f"starting {label}")
        try:
            framework = stack.enter_context(session.open(name))
            environment = dict(framework.environment(session.plan.device))
        except FAILURES as error:
            session.write("failure", **_failure(label, "start", None, error))
            continue
        session.write("worker", **({"label": label} | environment))
        session.entrants.append(Entrant(label, framework))


def _time_size(session: Session, inputs: Inputs) -> None:
    for entrant in list(session.entrants):
        session.say(f"{inputs.size} px: warming {entrant.label} up")
        with _dropping(session, entrant, "warm-up", inputs.size):
            _warm_up(session, entrant, inputs)
    for turn in range(session.plan.rounds):
        session.say(f"{inputs.size} px: round {turn + 1} of {session.plan.rounds}")
        for task in TASKS:
            _time_round(session, inputs, task, turn)
    for entrant in session.entrants:
        assert entrant.stepper is not None
        peak = entrant.stepper.peak_memory_mb()
        session.write("memory", label=entrant.label, image_size=inputs.size, peak_mb=peak)


def _warm_up(session: Session, entrant: Entrant, inputs: Inputs) -> None:
    """Untimed calls; the first of each task, with whatever it compiles, is recorded apart."""
    device = session.plan.device
    entrant.stepper, entrant.steps = entrant.framework.trainer(inputs.spec, session.weights, device=device), 0
    for call in range(session.plan.warm_up):
        seconds, losses = entrant.step(inputs)
        inference = entrant.infer(inputs)
        if call == 0:
            facts = {"label": entrant.label, "image_size": inputs.size}
            session.write("first_call", **facts, task="step", seconds=seconds, losses=losses)
            session.write("first_call", **facts, task="inference", seconds=inference)


def _time_round(session: Session, inputs: Inputs, task: str, turn: int) -> None:
    entrants = {entrant.label: entrant for entrant in session.entrants}
    for position, label in enumerate(order_of(list(entrants), turn)):
        entrant = entrants[label]
        with _dropping(session, entrant, task, inputs.size):
            seconds = entrant.step(inputs)[0] if task == "step" else entrant.infer(inputs)
            facts = {"label": label, "task": task, "image_size": inputs.size, "round": turn}
            session.write("timing", **facts, position=position, seconds=seconds)


@contextlib.contextmanager
def _dropping(session: Session, entrant: Entrant, during: str, size: int) -> Iterator[None]:
    """Record a worker's failure and leave it out from here on; the others continue."""
    try:
        yield
    except FAILURES as error:
        session.say(f"{entrant.label} failed during {during} and is left out from here on: {error}")
        session.write("failure", **_failure(entrant.label, during, size, error))
        session.entrants.remove(entrant)


def _failure(label: str, during: str, size: int | None, error: Exception) -> dict[str, Any]:
    tail = error.stderr_tail if isinstance(error, WorkerFailure) else ""
    record = {"label": label, "during": during, "image_size": size}
    return record | {"message": str(error), "stderr_tail": tail}


def _plan_record(plan: Plan) -> dict[str, Any]:
    smallest, batch = plan.specs[0], make_inputs(plan.specs[0]).batch
    return {
        "preset": smallest.name,
        "spec": to_dict(smallest),
        "image_sizes": [spec.data.image_size[0] for spec in plan.specs],
        "batch_size": smallest.data.batch_size,
        "frameworks": list(plan.frameworks),
        "rounds": plan.rounds,
        "warm_up": plan.warm_up,
        "device": plan.device,
        "kernels": kernels.choice(),
        "targets_per_image": batch["counts"].tolist(),
        "denoising_queries": batch["noise/part"].shape[1] if "noise/part" in batch else 0,
        "started": now(),
    }
