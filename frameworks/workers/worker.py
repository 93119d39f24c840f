"""Worker process: load one framework and serve requests until standard input ends.

A request is one JSON line on standard input, its answer one JSON line on the real standard output; arrays travel
as safetensors files whose paths the request gives. Everything that a framework prints goes to standard error, so
that it is never read as an answer.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from frameworks.arrays import Arrays, load_arrays, save_arrays
from frameworks.config import ExperimentSpec, ModelSpec, from_dict
from frameworks.errors import UserError
from frameworks.protocol import DEVICE_VARIABLE, Case, Framework, Stepper


@dataclasses.dataclass(frozen=True)
class Reply:
    """The result of a request: a plain JSON value, and arrays that go into a file."""

    value: Any = None
    arrays: Arrays = dataclasses.field(default_factory=dict)


class Session:
    """The requests that a worker serves: each public method is one. Specs and cases come as plain dictionaries."""

    def __init__(self, framework: Framework) -> None:
        self.framework = framework
        self.stepper: Stepper | None = None

    def supports(self, device: str, dtype: str) -> Reply:
        return Reply(self.framework.supports(device, dtype))

    def environment(self, device: str) -> Reply:
        record = dict(self.framework.environment(device))
        return Reply(record | {"python": sys.version.split()[0], "executable": sys.executable})

    def parameter_shapes(self, spec: dict[str, Any]) -> Reply:
        shapes = self.framework.parameter_shapes(from_dict(ModelSpec, spec))
        return Reply({name: list(shape) for name, shape in shapes.items()})

    def trace(self, case: dict[str, Any], weights: Arrays, inputs: Arrays, device: str, dtype: str) -> Reply:
        arrays = self.framework.trace(from_dict(Case, case), weights, inputs, device=device, dtype=dtype)
        return Reply(arrays=arrays)

    def trainer(self, spec: dict[str, Any], weights: Arrays, device: str) -> Reply:
        self.stepper = self.framework.trainer(from_dict(ExperimentSpec, spec), weights, device=device)
        return Reply()

    def step(self, batch: Arrays, learning_rates: list[float], ema_decay: float) -> Reply:
        return Reply(dataclasses.asdict(self._stepper().step(batch, learning_rates, ema_decay)))

    def step_predict(self, images: Arrays) -> Reply:
        detections = self._stepper().predict(images)
        return Reply(detections.seconds, detections.arrays)

    def state(self) -> Reply:
        return Reply(arrays=self._stepper().state())

    def load_state(self, state: Arrays) -> Reply:
        self._stepper().load(state)
        return Reply()

    def peak_memory_mb(self) -> Reply:
        return Reply(self._stepper().peak_memory_mb())

    def predict(self, spec: dict[str, Any], weights: Arrays, images: Arrays, device: str) -> Reply:
        experiment = from_dict(ExperimentSpec, spec)
        detections = self.framework.predict(experiment, weights, images, device=device)
        return Reply(detections.seconds, detections.arrays)

    def _stepper(self) -> Stepper:
        if self.stepper is None:
            raise ValueError("no trainer in this worker: send 'trainer' first")
        return self.stepper


def answer(session: Session, line: str) -> dict[str, Any]:
    """Run one request line and return its answer. An exception becomes an answer; the worker goes on."""
    request = json.loads(line)
    try:
        method: Callable[..., Reply] = getattr(session, request["request"])
        files = {name: load_arrays(Path(path)) for name, path in request["files"].items()}
        reply = method(**request["arguments"], **files)
        json.dumps(reply.value)  # a value that is not JSON is an error of the framework, and reported as one
        if reply.arrays:
            save_arrays(Path(request["answer"]), reply.arrays)
        return {"ok": True, "value": reply.value}
    except UserError as error:
        return _refusal("user", str(error))
    except FloatingPointError as error:
        return _refusal("not-finite", str(error))
    except Exception as error:  # the caller decides what a failed case means
        return _refusal("exception", f"{type(error).__name__}: {error}") | {"traceback": traceback.format_exc()}


def _refusal(kind: str, message: str) -> dict[str, Any]:
    return {"ok": False, "kind": kind, "message": message}


def serve(session: Session, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until the input ends."""
    for line in requests:
        print(json.dumps(answer(session, line)), file=answers, flush=True)


def main() -> None:
    """Load the framework that the command line names, report that it is ready (or why not), and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--adapter", help="dotted module that defines FRAMEWORK (default: the registered one)")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    os.environ[DEVICE_VARIABLE] = arguments.device
    # Keep the real standard output for answers; anything printed from here on goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr):
        import frameworks

        try:
            session = Session(frameworks.load(arguments.name, arguments.adapter))
        except UserError as error:
            print(json.dumps(_refusal("user", str(error))), file=answers, flush=True)
            sys.exit(2)
        print(json.dumps({"ok": True, "value": "ready"}), file=answers, flush=True)
        # Ctrl-C is handled by the caller, which ends workers by closing their input.
        with contextlib.suppress(KeyboardInterrupt):
            serve(session, sys.stdin, answers)


if __name__ == "__main__":
    main()
