"""Frameworks that stay open with one model, to detect on one image after the other at any depth of the decoder."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from experiments.detection.differences import Difference, difference
from experiments.detection.model import Model
from experiments.runs.stepper import Machine, Unavailable, opened
from frameworks.config import ExperimentSpec
from frameworks.detector import Detector, Found
from frameworks.errors import UserError
from frameworks.protocol import Framework
from frameworks.workers.client import WorkerFailure


@dataclass(frozen=True)
class Looked:
    """A picture and everything that each framework finds on it, whatever its score."""

    image: Image.Image
    every: Mapping[str, Found]

    def above(self, threshold: float) -> dict[str, Found]:
        """The detections of each framework whose score is ``threshold`` or more."""
        return {name: found.above(threshold) for name, found in self.every.items()}

    def apart(self, threshold: float) -> Difference | None:
        """How far the two frameworks lie apart; None where there is one."""
        if len(self.every) != 2:
            return None
        first, second = self.every.values()
        return difference(first, second, threshold)


class Session:
    """The opened frameworks of a model, with ``depth`` decoder layers at a time."""

    def __init__(self, model: Model, frameworks: Mapping[str, Framework], device: str) -> None:
        self.model, self._frameworks, self._device = model, frameworks, device
        self.depth = model.spec.model.decoder.eval_layer + 1
        self._ready = self._detectors(self.depth)

    def look(self, image: Image.Image, depth: int | None = None) -> Looked:
        """Detect in every framework, after ``depth`` decoder layers (default: as before).

        Raises:
            UserError: a framework failed, or has no such layer.
        """
        if depth is not None and depth != self.depth:
            self._ready = self._detectors(depth)
            self.depth = depth
        with _failures():
            return Looked(image, {name: detector.detect(image) for name, detector in self._ready.items()})

    def _detectors(self, depth: int) -> dict[str, Detector]:
        spec, weights = exit_after(self.model.spec, depth), self.model.weights
        with _failures():
            return {
                name: Detector(framework, spec, weights[name], self._device)
                for name, framework in self._frameworks.items()
            }


def exit_after(spec: ExperimentSpec, layers: int) -> ExperimentSpec:
    """The spec whose predictions come from decoder layer ``layers``, counted from 1, on the same weights.

    Raises:
        UserError: there is no such layer.
    """
    decoder = spec.model.decoder
    if not 1 <= layers <= decoder.num_layers:
        raise UserError(f"a depth of {layers} layers; {spec.name} has 1 to {decoder.num_layers}")
    return replace(spec, model=replace(spec.model, decoder=replace(decoder, eval_idx=layers - 1)))


@contextlib.contextmanager
def open_session(model: Model, machine: Machine) -> Iterator[Session]:
    """Context manager that starts every framework of a model. Raises UserError where one cannot start."""
    with contextlib.ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with _failures():
            frameworks = {name: stack.enter_context(opened(name, machine, log)) for name in model.weights}
        yield Session(model, frameworks, machine.device)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Tell what a framework could not do in one line."""
    try:
        yield
    except Unavailable as error:
        raise UserError(f"{error}; choose another --framework or --device") from None
    except WorkerFailure as error:
        last = error.stderr_tail.strip().rpartition("\n")[2]
        raise UserError(f"{error}" + (f" ({last})" if error.kind == "crash" and last else "")) from None
