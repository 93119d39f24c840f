"""A benchmark in progress: what it times, with which inputs, in which processes, and where it writes."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from experiments.benchmarks.environment import thread_variables
from frameworks import REFERENCE
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec
from frameworks.protocol import Framework
from frameworks.shared import drawn_inputs, kernels
from frameworks.shared.noise import denoising_count
from frameworks.state.parameters import state_shapes
from frameworks.workers.client import WorkerFailure, open_framework
from reports.record_writer import RecordWriter

CONTROL = f"{REFERENCE} again"  # label of the A/A control: the reference in a second process
FORMULAS = f"{REFERENCE} formulas"  # label of the reference on the readable formulas
TASKS = ("step", "inference")
TARGETS_PER_IMAGE = (7, 4)  # COCO's mean is 7; the second image makes padding part of the work
SEED = "benchmark"
FAILURES = (WorkerFailure, FloatingPointError)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is timed. ``specs``: one experiment per preset and image size; ``minutes``: see ``timing.time_spec``."""

    specs: tuple[ExperimentSpec, ...]
    frameworks: tuple[str, ...]
    rounds: int
    minutes: float
    warm_up: int
    device: str
    pythons: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)  # of every process

    @property
    def models(self) -> list[ExperimentSpec]:
        """The first experiment of each preset."""
        return list({spec.name: spec for spec in reversed(self.specs)}.values())[::-1]

    @property
    def entries(self) -> list["Entry"]:
        """Every label of the table; on a GPU the twins have no operators of their own, so no second path."""
        found = [Entry(name, name) for name in self.frameworks]
        if self.device == "cpu":
            found.append(Entry(FORMULAS, REFERENCE, {kernels.VARIABLE: "reference"}))
        return [*found, Entry(CONTROL, REFERENCE)]


@dataclass(frozen=True)
class Entry:
    """One label of the table: a framework, and what its process gets beside the variables of all."""

    label: str
    framework: str
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """What every framework computes: arrays of a step (``batch``) and of an inference (``images``)."""

    spec: ExperimentSpec
    batch: Arrays
    images: Arrays

    @property
    def denoising_queries(self) -> int:
        """Number of denoising queries per image."""
        return self.batch["noise/part"].shape[1] if "noise/part" in self.batch else 0


@dataclass(frozen=True)
class Session:
    """One benchmark in progress: where records and progress lines go."""

    plan: Plan
    writer: RecordWriter
    say: Say

    def write(self, kind: str, **values: Any) -> None:
        """Append one record."""
        self.writer.append({"kind": kind, **values})

    def open(self, entry: Entry) -> contextlib.AbstractContextManager[Framework]:
        """Start the entry's framework in a worker process."""
        python = self.plan.pythons.get(entry.framework)
        variables = thread_variables() | {kernels.VARIABLE: "fast"} | self.plan.variables | entry.variables
        return open_framework(entry.framework, device=self.plan.device, python=python, variables=variables)

    @contextlib.contextmanager
    def recording(self, entry: Entry, during: str, spec: ExperimentSpec) -> Iterator[None]:
        """Record a worker's failure inside the block and go on after it."""
        try:
            yield
        except FAILURES as error:
            self.say(f"{entry.label} failed during {during}: {error}")
            tail = error.stderr_tail if isinstance(error, WorkerFailure) else ""
            place = {"label": entry.label, "during": during} | place_of(spec)
            self.write("failure", **place, message=str(error), stderr_tail=tail)


def place_of(spec: ExperimentSpec) -> dict[str, Any]:
    """The fields of a record that say which preset and size it belongs to."""
    return {"preset": spec.name, "image_size": spec.data.image_size[0], "batch_size": spec.data.batch_size}


def place_name(place: dict[str, Any]) -> str:
    """The same for people."""
    return f"{place['preset']}, {place['image_size']} px, batch {place['batch_size']}"


@cache
def drawn_weights(spec: ModelSpec) -> Arrays:
    """Weights of a model, the same for every framework; kept for the model's other image sizes."""
    return drawn_inputs.weights(state_shapes(spec), SEED)


def make_inputs(spec: ExperimentSpec) -> Inputs:
    """Images, targets and denoising noise of one step, the same in every step; and the images of an inference."""
    (height, width), batch = spec.data.image_size, spec.data.batch_size
    per_image = tuple(itertools.islice(itertools.cycle(TARGETS_PER_IMAGE), batch))
    images = drawn_inputs.images(batch, height, width, SEED)
    arrays = {"images": images} | drawn_inputs.targets(SEED, per_image, spec.model.num_classes)
    if count := denoising_count(spec.model, arrays["counts"]):
        arrays |= drawn_inputs.noise(batch, count, SEED, spec.model.num_classes)
    return Inputs(spec, arrays, {"images": images, "sizes_wh": np.full((batch, 2), height, np.float32)})
