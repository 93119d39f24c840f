"""Time the frameworks: same weights, same batch, one process each, one at a time, interleaved in rounds.

Everything is written as records (see ``run``), from which the page is built.
"""

import contextlib
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.benchmarks.agreement import check_agreement
from experiments.benchmarks.cells import AGAIN
from experiments.benchmarks.environment import environment_record
from experiments.benchmarks.limits import measure_limits
from experiments.benchmarks.profiles import profile_spec
from experiments.benchmarks.session import (
    TASKS,
    Entry,
    Inputs,
    Plan,
    Say,
    Session,
    drawn_weights,
    make_inputs,
    place_name,
    place_of,
)
from experiments.runs.host import now
from frameworks.config import ExperimentSpec, ModelSpec, to_dict
from frameworks.protocol import Framework, Stepper
from frameworks.shared.schedules import ema_decay, learning_rates
from frameworks.state.parameters import state_shapes, trainable_names
from reports.jsonl import read_lines
from reports.record_writer import RecordWriter

FEWEST_ROUNDS = 5  # however slow: with fewer, the interval of a median would not reach 90 %


@dataclass
class Entrant:
    """One entry at work: its framework in a process of its own, with a model in training."""

    entry: Entry
    framework: Framework
    stepper: Stepper
    steps: int = 0

    def step(self, inputs: Inputs) -> tuple[float, dict[str, float]]:
        """One training step: its seconds and its loss terms."""
        recipe = inputs.spec.recipe
        rates = learning_rates(recipe, self.steps, epoch=0)
        self.steps += 1
        record = self.stepper.step(inputs.batch, rates, ema_decay(recipe, self.steps))
        return record.seconds, record.losses

    def infer(self, inputs: Inputs) -> float:
        """Seconds of one inference with post-processing."""
        return self.stepper.predict(inputs.images).seconds


def run(plan: Plan, writer: RecordWriter, say: Say) -> None:
    """Check that all frameworks compute the same, time them, then profile the twins.

    Records by ``kind``: environment, limits, agreement, worker, first_call, timing, memory, profile, failure.

    Raises:
        UserError: a framework is missing, or does not compute what the reference computes.
    """
    session = Session(plan, writer, say)
    session.write("environment", **environment_record(), **_plan_record(plan))
    say("measuring the machine's own limits")
    session.write("limits", **measure_limits())
    for spec in plan.models:
        check_agreement(session, spec)
    for spec in plan.specs:
        time_spec(session, spec)
    for spec in plan.specs:
        profile_spec(session, spec)


def run_again(plan: Plan, writer: RecordWriter, say: Say) -> None:
    """Time every size of ``plan`` once more; its earlier timings in the same file no longer count.

    A size's records are written once it is finished: one that is interrupted keeps its earlier timings.
    """
    for spec in plan.specs:
        with tempfile.TemporaryDirectory() as folder, RecordWriter(Path(folder) / "records.jsonl") as size:
            session = Session(plan, size, say)
            session.write(AGAIN, **place_of(spec), **environment_record(), started=now())
            time_spec(session, spec)
            writer.append(*read_lines(size.path)[0])


def time_spec(session: Session, spec: ExperimentSpec) -> None:
    """Time one preset at one size in fresh processes, so that peak memory is its own.

    There are at most ``plan.rounds`` rounds; after FEWEST_ROUNDS none begins once ``plan.minutes`` have passed.
    """
    inputs, plan = make_inputs(spec), session.plan
    where = place_name(place_of(spec))
    with contextlib.ExitStack() as stack:
        entrants: dict[str, Entrant] = {}
        for entry in plan.entries:
            session.say(f"{where}: starting {entry.label} and warming it up")
            with session.recording(entry, "warm-up", spec):
                entrants[entry.label] = _warm_up(session, stack.enter_context(session.open(entry)), entry, inputs)
        start = time.monotonic()
        for turn in range(plan.rounds):
            if turn >= FEWEST_ROUNDS and time.monotonic() - start > 60 * plan.minutes:
                break
            session.say(f"{where}: round {turn + 1} of {plan.rounds} at most")
            for task in TASKS:
                _time_round(session, entrants, inputs, task, turn)
        for label, entrant in entrants.items():
            peak = entrant.stepper.peak_memory_mb()
            session.write("memory", label=label, peak_mb=peak, **place_of(spec))


def order_of(labels: list[str], turn: int) -> list[str]:
    """Order of a round: each label is first once per cycle; every other cycle runs backwards to mix neighbours."""
    if not labels:
        return []
    cycle, start = divmod(turn, len(labels))
    order = labels[start:] + labels[:start]
    return order[::-1] if cycle % 2 else order


def _warm_up(session: Session, framework: Framework, entry: Entry, inputs: Inputs) -> Entrant:
    """Build the model and make untimed calls; the first of each task, with all it compiles, is recorded apart."""
    device, facts = session.plan.device, {"label": entry.label} | place_of(inputs.spec)
    session.write("worker", **(facts | dict(framework.environment(device))))
    stepper = framework.trainer(inputs.spec, drawn_weights(inputs.spec.model), device=device)
    entrant = Entrant(entry, framework, stepper)
    for call in range(session.plan.warm_up):
        seconds, losses = entrant.step(inputs)
        inference = entrant.infer(inputs)
        if call == 0:
            session.write("first_call", **facts, task="step", seconds=seconds, losses=losses)
            session.write("first_call", **facts, task="inference", seconds=inference)
    return entrant


def _time_round(session: Session, entrants: dict[str, Entrant], inputs: Inputs, task: str, turn: int) -> None:
    """One call of each entrant; one that fails is taken out of ``entrants``."""
    for position, label in enumerate(order_of(list(entrants), turn)):
        entrant = entrants[label]
        with session.recording(entrant.entry, task, inputs.spec):
            seconds = entrant.step(inputs)[0] if task == "step" else entrant.infer(inputs)
            facts = {"label": label, "task": task, "round": turn, "position": position} | place_of(inputs.spec)
            session.write("timing", **facts, seconds=seconds)
            continue
        del entrants[label]


def _plan_record(plan: Plan) -> dict[str, Any]:
    return {
        "specs": {spec.name: to_dict(spec) for spec in plan.models},
        "trained_parameters": {spec.name: _trained_parameters(spec.model) for spec in plan.models},
        "denoising_queries": sorted({make_inputs(spec).denoising_queries for spec in plan.specs}),
        "frameworks": list(plan.frameworks),
        "rounds": plan.rounds,
        "minutes": plan.minutes,
        "warm_up": plan.warm_up,
        "device": plan.device,
        "started": now(),
    }


def _trained_parameters(model: ModelSpec) -> int:
    shapes = state_shapes(model)
    return sum(math.prod(shapes[name]) for name in trainable_names(model))
