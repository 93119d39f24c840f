"""Time the entrants: same weights, same batch, all processes alive, one at a time, interleaved in rounds.

Everything is written as records (see ``run``); the report is made from them alone.
"""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.environment import environment_record, worker_variables
from experiments.record_writer import RecordWriter
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, to_dict
from frameworks.errors import UserError
from frameworks.protocol import Case, Framework, Stepper
from frameworks.shared import draws
from frameworks.shared.noise import denoising_count
from frameworks.shared.schedules import ema_decay, learning_rates
from frameworks.shared.tolerances import SAME_PREDICTIONS
from frameworks.state.parameters import state_shapes
from frameworks.workers.client import WorkerFailure, open_framework

REFERENCE, CONTROL = "torch", "torch again"
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


def run(plan: Plan, writer: RecordWriter, say: Say) -> None:
    """Check that all compute the same, then time them.

    Records by ``kind``: environment, worker, agreement, first_call, timing, memory, failure.

    Raises:
        UserError: a framework is missing, or does not compute what the torch twin computes.
    """
    weights = draws.weights(state_shapes(plan.specs[0].model), SEED)
    with worker_variables() as variables:
        writer.append({"kind": "environment"} | environment_record(variables) | _plan_record(plan))
        check_agreement(plan, weights, writer, say)
        with contextlib.ExitStack() as stack:
            entrants = _open_all(plan, stack, writer, say)
            for spec in plan.specs:
                _time_size(plan, spec, weights, entrants, writer, say)


def check_agreement(plan: Plan, weights: Arrays, writer: RecordWriter, say: Say) -> None:
    """Evaluation-mode logits and boxes in float64 against the torch twin's, in processes of their own.

    Not in the processes that are timed: a float64 model would stand in their peak memory.
    """
    others = [name for name in plan.frameworks if name != REFERENCE]
    if not others:
        return
    case = Case("forward", plan.specs[0])
    inputs = {"images": draws.images(1, AGREEMENT_SIZE, AGREEMENT_SIZE, SEED)}
    answers: dict[str, Arrays] = {}
    for name in (REFERENCE, *others):
        say(f"checking what {name} computes in float64")
        with _open(name, plan) as framework:
            answers[name] = framework.trace(case, weights, inputs, device=plan.device, dtype="float64")
    for name, tensor in itertools.product(others, ("pred_logits", "pred_boxes")):
        reference = answers[REFERENCE][f"forward/{tensor}"]
        difference = answers[name][f"forward/{tensor}"] - reference
        error = float(np.linalg.norm(difference) / np.linalg.norm(reference))
        writer.append(
            {"kind": "agreement", "framework": name, "tensor": tensor, "error": error, "limit": SAME_PREDICTIONS,
             "image_size": AGREEMENT_SIZE, "dtype": "float64"}
        )  # fmt: skip
        say(f"  {name} {tensor}: relative difference {error:.1e} (limit {SAME_PREDICTIONS:.0e})")
        if not error <= SAME_PREDICTIONS:  # NaN must not pass
            raise UserError(
                f"{name}'s {tensor} differ from torch's by {error:.1e} in float64 (limit {SAME_PREDICTIONS:.0e}): "
                "timings of two different models would say nothing"
            )


def make_batch(spec: ExperimentSpec) -> Arrays:
    """Images, targets and denoising noise of one step, the same in every step."""
    (height, width), batch = spec.data.image_size, spec.data.batch_size
    per_image = tuple(itertools.islice(itertools.cycle(TARGETS_PER_IMAGE), batch))
    targets = draws.targets(SEED, per_image, spec.model.num_classes)
    arrays = {"images": draws.images(batch, height, width, SEED)} | targets
    count = denoising_count(spec.model, targets["counts"])
    return arrays | (draws.noise(batch, count, SEED, spec.model.num_classes) if count else {})


def order_of(labels: list[str], turn: int) -> list[str]:
    """Everybody is first once a cycle; every other cycle runs backwards, so that neighbours change too."""
    cycle, start = divmod(turn, len(labels))
    order = labels[start:] + labels[:start]
    return order[::-1] if cycle % 2 else order


def peak_memory_mb(framework: Framework, stepper: Stepper, device: str) -> float:
    """Peak of one process. On Linux from /proc: what getrusage says of a child starts at its parent's size."""
    process = getattr(framework, "process", None)
    if device == "cpu" and process is not None:
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
    return stepper.peak_memory_mb()


def _open(name: str, plan: Plan) -> contextlib.AbstractContextManager[Framework]:
    return open_framework(name, device=plan.device, python=plan.pythons.get(name))


def _open_all(plan: Plan, stack: contextlib.ExitStack, writer: RecordWriter, say: Say) -> list[Entrant]:
    """One process per label; the reference gets a second one, the A/A control."""
    entrants = []
    pairs = [(name, name) for name in plan.frameworks]
    if REFERENCE in plan.frameworks:
        pairs.append((CONTROL, REFERENCE))
    for label, name in pairs:
        say(f"starting {label}")
        try:
            framework = stack.enter_context(_open(name, plan))
            record = {"kind": "worker", "label": label} | dict(framework.environment(plan.device))
        except FAILURES as error:
            writer.append(_failure(label, "start", None, error))
            continue
        writer.append(record)
        entrants.append(Entrant(label, framework))
    return entrants


def _time_size(
    plan: Plan, spec: ExperimentSpec, weights: Arrays, entrants: list[Entrant], writer: RecordWriter, say: Say
) -> None:
    size, batch = spec.data.image_size[0], make_batch(spec)
    images = {"images": batch["images"], "sizes_wh": np.full((spec.data.batch_size, 2), size, np.float32)}
    for entrant in list(entrants):
        say(f"{size} px: warming {entrant.label} up")
        with _dropping(entrant, entrants, "warm-up", size, writer, say):
            _warm_up(plan, spec, weights, batch, images, entrant, writer)
    for turn in range(plan.rounds):
        say(f"{size} px: round {turn + 1} of {plan.rounds}")
        for task in TASKS:
            order = order_of([entrant.label for entrant in entrants], turn) if entrants else []
            for position, label in enumerate(order):
                entrant = next(e for e in entrants if e.label == label)
                with _dropping(entrant, entrants, task, size, writer, say):
                    seconds = _step(spec, batch, entrant)[0] if task == "step" else _infer(images, entrant)
                    writer.append(
                        {"kind": "timing", "label": label, "task": task, "image_size": size, "round": turn,
                         "position": position, "seconds": seconds}
                    )  # fmt: skip
    for entrant in entrants:
        assert entrant.stepper is not None
        peak = peak_memory_mb(entrant.framework, entrant.stepper, plan.device)
        writer.append({"kind": "memory", "label": entrant.label, "image_size": size, "peak_mb": peak})


def _warm_up(
    plan: Plan, spec: ExperimentSpec, weights: Arrays, batch: Arrays, images: Arrays, entrant: Entrant,
    writer: RecordWriter,
) -> None:  # fmt: skip
    """Untimed calls; the first of each task, with whatever it compiles, is recorded apart."""
    entrant.stepper, entrant.steps = entrant.framework.trainer(spec, weights, device=plan.device), 0
    for call in range(plan.warm_up):
        seconds, losses = _step(spec, batch, entrant)
        inference = _infer(images, entrant)
        if call == 0:
            record = {"kind": "first_call", "label": entrant.label, "image_size": spec.data.image_size[0]}
            writer.append(record | {"task": "step", "seconds": seconds, "losses": losses})
            writer.append(record | {"task": "inference", "seconds": inference})


def _step(spec: ExperimentSpec, batch: Arrays, entrant: Entrant) -> tuple[float, dict[str, float]]:
    assert entrant.stepper is not None
    rates = learning_rates(spec.recipe, entrant.steps, epoch=0)
    entrant.steps += 1
    record = entrant.stepper.step(batch, rates, ema_decay(spec.recipe, entrant.steps))
    return record.seconds, record.losses


def _infer(images: Arrays, entrant: Entrant) -> float:
    assert entrant.stepper is not None
    return entrant.stepper.predict(images).seconds


@contextlib.contextmanager
def _dropping(
    entrant: Entrant, entrants: list[Entrant], during: str, size: int, writer: RecordWriter, say: Say
) -> Iterator[None]:
    """A worker that fails is recorded and leaves the race; the others go on."""
    try:
        yield
    except FAILURES as error:
        say(f"{entrant.label} failed during {during} and is left out from here on: {error}")
        writer.append(_failure(entrant.label, during, size, error))
        entrants.remove(entrant)


def _failure(label: str, during: str, size: int | None, error: Exception) -> dict[str, Any]:
    tail = error.stderr_tail if isinstance(error, WorkerFailure) else ""
    record = {"kind": "failure", "label": label, "during": during, "image_size": size}
    return record | {"message": str(error), "stderr_tail": tail}


def _plan_record(plan: Plan) -> dict[str, Any]:
    batch = make_batch(plan.specs[0])
    return {
        "preset": plan.specs[0].name,
        "spec": to_dict(dataclasses.replace(plan.specs[0])),
        "image_sizes": [spec.data.image_size[0] for spec in plan.specs],
        "batch_size": plan.specs[0].data.batch_size,
        "frameworks": list(plan.frameworks),
        "rounds": plan.rounds,
        "warm_up": plan.warm_up,
        "device": plan.device,
        "targets_per_image": batch["counts"].tolist(),
        "denoising_queries": batch["noise/part"].shape[1] if "noise/part" in batch else 0,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
