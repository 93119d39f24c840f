"""Traces of every framework, run in workers and cached for the session."""

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

import frameworks
from frameworks.arrays import Arrays
from frameworks.judge.blame import replay_question
from frameworks.judge.decisions import forced_decisions
from frameworks.protocol import Case, Framework
from frameworks.shared import kernels
from frameworks.workers.client import Worker, WorkerFailure, open_framework
from parity_tests.cases import subjects

# Framework, dtype and device of the trace that all others are compared with. test_oracle.py compares this one
# with the official implementation.
TRUTH = (frameworks.REFERENCE, "float64", "cpu")

CACHE_BYTES = 4 * 2**30  # a training state of r18vd in float64 takes 0.8 GB


def compared(dtype: str, device: str) -> tuple[str, ...]:
    """The frameworks to run in this dtype on this device: all, but for the reference where it is the truth."""
    return frameworks.candidates() if (dtype, device) == TRUTH[1:] else tuple(frameworks.ADAPTERS)


class Workers:
    """One worker process for each framework and device, started at first use and ended with the session.

    ``path``: the choice of ``frameworks.shared.kernels`` in these workers.
    """

    def __init__(self, stack: ExitStack, pythons: dict[str, str], in_process: bool, path: str) -> None:
        self.stack, self.pythons, self.in_process, self.path = stack, pythons, in_process, path
        self.open: dict[tuple[str, str], Framework] = {}

    def get(self, name: str, device: str) -> Framework:
        """The framework ``name`` in its worker for ``device``."""
        if (name, device) not in self.open:
            framework = open_framework(
                name, device=device, python=self.pythons.get(name), in_process=self.in_process
            )
            self.open[name, device] = self.stack.enter_context(framework)
        return self.open[name, device]

    def forget(self, name: str, device: str) -> None:
        """End a worker that failed: the next use starts a new one, so that one crash is one failure."""
        framework = self.open.pop((name, device), None)
        if isinstance(framework, Worker):
            framework.close()


class Traces:
    """Runs cases in the workers and caches their traces, because several tests need the same ones."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.cache: dict[Any, Arrays] = {}

    def run(
        self, case: Case, subject: subjects.Subject, inputs: Arrays, framework: str, dtype: str, device: str
    ) -> Arrays:
        """The trace of ``case`` by one framework, with the weights of ``subject`` and these inputs.

        Raises:
            WorkerFailure: the worker crashed, or the framework raised an exception.
        """
        key = (case, subject, digest(inputs), framework, dtype, device)
        if key in self.cache:
            self.cache[key] = self.cache.pop(key)  # now the most recently used
            return self.cache[key]
        with kernels.chosen(self.workers.path):
            worker = self.workers.get(framework, device)
            try:
                self.cache[key] = worker.trace(case, subject.weights(), inputs, device=device, dtype=dtype)
            except WorkerFailure:
                self.workers.forget(framework, device)
                raise
        while len(self.cache) > 1 and sum(map(_size, self.cache.values())) > CACHE_BYTES:
            self.cache.pop(next(iter(self.cache)))
        return self.cache[key]

    def run_all(
        self, case: Case, subject: subjects.Subject, inputs: Arrays, dtype: str, device: str
    ) -> dict[str, Arrays]:
        """The trace of ``case`` by each framework that is compared in this dtype on this device."""
        return {name: self.run(case, subject, inputs, name, dtype, device) for name in compared(dtype, device)}

    def training(
        self, subject: subjects.Subject, framework: str, dtype: str, device: str, truth: Arrays | None = None
    ) -> Arrays:
        """The training pass of ``subject`` on its own inputs; with ``truth``, that trace's decisions are forced."""
        inputs = subject.training_inputs() | (forced_decisions(truth) if truth else {})
        return self.run(subjects.training_case(subject), subject, inputs, framework, dtype, device)

    def replay(
        self, subject: subjects.Subject, part: str, framework: str, dtype: str, device: str, training: bool = True
    ) -> Arrays:
        """One part alone, on what it received in the truth's pass (``blame.replay_question``)."""
        case, inputs = whole_pass(subject, training)
        truth = self.run(case, subject, inputs, *TRUTH)
        alone, given = replay_question(case, inputs, truth, part)
        return self.run(alone, subject, rounded(given), framework, dtype, device)


def whole_pass(subject: subjects.Subject, training: bool) -> tuple[Case, Arrays]:
    """A subject's pass in training or evaluation mode, with captures of every module, and its inputs."""
    if training:
        return subjects.training_case(subject), subject.training_inputs()
    return replace(subjects.training_case(subject), question="forward", training=False), subject.images()


def rounded(arrays: Arrays) -> Arrays:
    """Floating-point arrays rounded to float32, so that both precisions get the same inputs."""
    return {name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def digest(arrays: Arrays) -> bytes:
    """A hash of names, shapes, dtypes and values."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(f"{name} {array.dtype} {arrays[name].shape};".encode())
        state.update(array.data)
    return state.digest()


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
