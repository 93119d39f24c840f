"""The two sides of a diagnosis, each in a worker process: a framework of this project, or a user's own model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from experiments.diagnosis.names import left_names, renamed, right_name
from frameworks.arrays import Arrays
from frameworks.judge.blame import replay_inputs, replay_question
from frameworks.judge.decisions import forced_decisions
from frameworks.protocol import Case, Framework
from frameworks.workers.client import Worker


class Side(Protocol):
    """One implementation with its weights and inputs. Names are the left's."""

    def run(self, dtype: str, modules: list[str] | None, other: Arrays | None = None) -> Arrays:
        """The trace of the whole pass.

        Args:
            modules: which ones to record; None: those that this side lists.
            other: the left's trace, whose discrete decisions are taken over in float32, where a side has any.
        """
        ...

    def alone(self, module: str, given: Arrays) -> Arrays:
        """One module on what it received in ``given``, the left's whole pass."""
        ...


@dataclass
class FrameworkSide:
    """A framework of this project (torch, jittor, ...) and the case that it runs."""

    framework: Framework
    case: Case
    weights: Arrays
    inputs: Arrays
    device: str = "cpu"
    dtype: str = "float64"

    def run(self, dtype: str, modules: list[str] | None, other: Arrays | None = None) -> Arrays:
        """As in ``Side``; without a list, the modules that the case captures."""
        self.dtype = dtype
        forced = forced_decisions(other) if other and dtype == "float32" else {}
        self.case = self.case if modules is None else replace(self.case, capture=tuple(modules))
        return self._trace(self.case, self.inputs | forced)

    def alone(self, module: str, given: Arrays) -> Arrays:
        """As in ``Side``."""
        return self._trace(*replay_question(self.case, self.inputs, given, module))

    def _trace(self, case: Case, inputs: Arrays) -> Arrays:
        return self.framework.trace(case, self.weights, inputs, device=self.device, dtype=self.dtype)


@dataclass
class OwnSide:
    """A user's own model in a worker (``own_model.OwnModel``); the left has no rules."""

    worker: Worker
    weights: Arrays  # under the left's names
    inputs: Arrays
    training: bool
    rules: Mapping[str, str]

    def run(self, dtype: str, modules: list[str] | None, other: Arrays | None = None) -> Arrays:
        """As in ``Side``; without a list, all modules in the order in which they return."""
        names = None if modules is None else [right_name(module, self.rules) for module in modules]
        sent = {
            "weights": {right_name(name, self.rules): array for name, array in self.weights.items()},
            "inputs": self.inputs,
        }
        _, trace = self.worker.request("own.run", sent, dtype=dtype, training=self.training, modules=names)
        self.names = left_names([*(modules or []), *self.weights], self.rules)
        return renamed(trace, self.names)

    def alone(self, module: str, given: Arrays) -> Arrays:
        """As in ``Side``."""
        _, trace = self.worker.request(
            "own.alone", {"given": replay_inputs(given, module)}, module=right_name(module, self.rules)
        )
        return renamed(trace, self.names)
