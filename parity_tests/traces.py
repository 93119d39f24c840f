"""Traces of both twins, computed once a session, and the records of what was compared."""

import dataclasses
import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import frameworks
from frameworks.arrays import Arrays
from frameworks.protocol import Case, Framework
from frameworks.shared import tolerances
from frameworks.shared.draws import uniform
from frameworks.state.parameters import state_shapes, trainable_names
from frameworks.workers.client import Worker, WorkerFailure, open_framework
from parity_tests.cases import subjects
from parity_tests.judge.blame import replay_inputs
from parity_tests.judge.compare import Comparison

TRUTH = ("torch", "float64", "cpu")  # itself held to the official implementation by test_oracle.py

CACHE_BYTES = 4 * 2**30  # a training state of r18vd in float64 takes 0.8 GB


class Twins:
    """Workers of every framework and device, started when first asked, ended with the session."""

    def __init__(self, stack: ExitStack, pythons: dict[str, str], in_process: bool) -> None:
        self.stack, self.pythons, self.in_process = stack, pythons, in_process
        self.open: dict[tuple[str, str], Framework] = {}

    def get(self, name: str, device: str) -> Framework:
        if (name, device) not in self.open:
            framework = open_framework(
                name, device=device, python=self.pythons.get(name), in_process=self.in_process
            )
            self.open[name, device] = self.stack.enter_context(framework)
        return self.open[name, device]

    def forget(self, name: str, device: str) -> None:
        """End a worker that failed: the next question gets a new one, so that one crash is one failure."""
        framework = self.open.pop((name, device), None)
        if isinstance(framework, Worker):
            framework.close()

    def unsupported(self, device: str, dtype: str) -> str | None:
        """Why a device or dtype cannot be compared here, or None."""
        if device == "cuda":
            reason = self.get("torch", "cpu").supports("cuda", dtype)
            if reason:
                return f"no GPU parity: {reason}"
        return None


class Evidence:
    """Cached traces of the cases that several tests look at."""

    def __init__(self, twins: Twins) -> None:
        self.twins = twins
        self.cache: dict[Any, Arrays] = {}

    def trace(
        self,
        key: str,
        case: Case,
        subject: subjects.Subject,
        inputs: Arrays,
        framework: str,
        dtype: str,
        device: str,
    ) -> Arrays:
        """One trace; ``key`` names what the inputs were made from."""
        place = (key, case, subject, framework, dtype, device)
        if place in self.cache:
            self.cache[place] = self.cache.pop(place)  # now the most recently used
            return self.cache[place]
        twin = self.twins.get(framework, device)
        try:
            self.cache[place] = twin.trace(case, subject.weights(), inputs, device=device, dtype=dtype)
        except WorkerFailure:
            self.twins.forget(framework, device)
            raise
        while len(self.cache) > 1 and sum(map(_size, self.cache.values())) > CACHE_BYTES:
            self.cache.pop(next(iter(self.cache)))
        return self.cache[place]

    def forward(self, subject: subjects.Subject, framework: str, dtype: str, device: str) -> Arrays:
        """Evaluation-mode forward pass; in float32 with the truth's selection forced."""
        case = Case("forward", subject.spec)
        inputs = subject.images()
        if dtype != "float64":
            truth = self.forward(subject, *TRUTH)
            inputs = inputs | {"forced/topk": truth["select/topk"]}
        return self.trace("forward", case, subject, inputs, framework, dtype, device)

    def loss(self, subject: subjects.Subject, framework: str, dtype: str, device: str) -> Arrays:
        """Training-mode forward and backward pass with captures; in float32 with forced decisions."""
        case = Case("loss", subject.spec, training=True, capture=tuple(subjects.module_paths(subject.spec.model)))
        inputs = subject.training_inputs()
        if dtype != "float64":
            inputs = inputs | forced_decisions(self.loss(subject, *TRUTH))
        return self.trace("loss", case, subject, inputs, framework, dtype, device)

    def own_decisions(self, subject: subjects.Subject, framework: str, dtype: str, device: str) -> Arrays:
        """Top-k, its scores and matchings of a training pass in which nothing is forced."""
        case = Case("loss", subject.spec, training=True, capture=tuple(subjects.module_paths(subject.spec.model)))
        inputs = subject.training_inputs()
        key = "loss" if dtype == "float64" else "loss, own"  # in float64 nothing is ever forced
        trace = self.trace(key, case, subject, inputs, framework, dtype, device)
        return {name: array for name, array in trace.items() if name.startswith(("match/", "select/"))}

    def deployed(self, subject: subjects.Subject, framework: str, dtype: str, device: str) -> Arrays:
        """The evaluation-mode forward pass of the fused model; in float32 with the truth's selection forced."""
        case = Case("forward", subject.spec, deploy=True)
        inputs = subject.images()
        if dtype != "float64":
            inputs = inputs | {"forced/topk": self.forward(subject, *TRUTH)["select/topk"]}
        return self.trace("forward", case, subject, inputs, framework, dtype, device)

    def module(self, subject: subjects.Subject, module: str, framework: str, dtype: str, device: str) -> Arrays:
        """One module alone on what the truth fed it, rounded to float32 so that both precisions see the same."""
        capture = self.loss(subject, *TRUTH)
        inputs = {name: _rounded(array) for name, array in replay_inputs(capture, module).items()}
        case = Case("module", subject.spec, training=True, module=module)
        return self.trace("module", case, subject, inputs, framework, dtype, device)

    def steps(self, subject: subjects.Subject, count: int, framework: str, dtype: str, device: str) -> Arrays:
        """``count`` training steps; the update instead of the parameter, which would hide it.

        In float32 every step takes the truth's decisions: one other query in the top k is another problem.
        """
        scale = subject.lr_scale if count > 1 else 1.0
        case = Case("steps", subject.spec, training=True, steps=count, lr_scale=scale)
        inputs = subject.training_inputs()
        if dtype != "float64":
            truth = self.steps(subject, count, *TRUTH)
            for step in range(count):
                prefix = f"step{step}/"
                part = {n.removeprefix(prefix): array for n, array in truth.items() if n.startswith(prefix)}
                inputs |= {f"{prefix}{name}": array for name, array in forced_decisions(part).items()}
        trace = self.trace("steps", case, subject, inputs, framework, dtype, device)
        return updates(trace, subject.weights())

    def optimizer(self, subject: subjects.Subject, count: int, framework: str, dtype: str, device: str) -> Arrays:
        """``count`` optimizer steps on identical gradients."""
        case = Case("optimizer", subject.spec, steps=count)
        trace = self.trace("optimizer", case, subject, given_gradients(subject, count), framework, dtype, device)
        return updates(trace, subject.weights())


def forced_decisions(truth: Arrays) -> Arrays:
    """The truth's top-k and matchings as inputs, so that float32 is compared on one and the same branch."""
    decisions = {"forced/topk": truth["select/topk"]}
    return decisions | {f"forced/{name}": array for name, array in truth.items() if name.startswith("match/")}


def updates(trace: Arrays, before: Arrays) -> Arrays:
    """Replace ``parameter/NAME`` by ``update/NAME``: what the steps added, not what was there."""
    result = {name: array for name, array in trace.items() if not name.startswith("parameter/")}
    for name, array in trace.items():
        if name.startswith("parameter/"):
            name = name.removeprefix("parameter/")
            if array.dtype.kind == "f":
                result[f"update/{name}"] = array.astype(np.float64) - before[name].astype(np.float64)
            else:
                result[f"update/{name}"] = array - before[name]
    return result


def given_gradients(subject: subjects.Subject, count: int) -> Arrays:
    """Uniform gradients of size 1e-3 from the oracle's recipe, one set a step."""
    shapes = state_shapes(subject.spec.model)
    return {
        f"gradient/{t}/{name}": (1e-3 * (2 * uniform(f"grad.{t}.{name}", shapes[name], subject.seed) - 1)).astype(
            np.float32
        )
        for t in range(count)
        for name in trainable_names(subject.spec.model)
    }


@dataclasses.dataclass
class Recorder:
    """Appends every comparison to a JSONL file, passed or not."""

    path: Path

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("")

    def write(self, record: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def add(self, comparisons: Iterable[Comparison], **context: str) -> list[str]:
        """Record comparisons; returns a line for each that failed."""
        failures = []
        lines = []
        for comparison in comparisons:
            record = {
                "published_bound": tolerances.PUBLISHED.get(comparison.stage),
                **context,
                **comparison.record(),
            }
            lines.append(json.dumps(record))
            if not comparison.passed:
                failures.append(comparison.describe(context["dtype"], context["device"]))
        with self.path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        return failures


def other(framework: str) -> str:
    """The twin of a framework."""
    return next(name for name in frameworks.ADAPTERS if name != framework)


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _rounded(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.kind == "f" else array
