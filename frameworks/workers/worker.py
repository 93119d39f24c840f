"""Worker process: load one framework and serve requests until standard input ends.

A request is one JSON line on standard input, its answer one JSON line on an inherited pipe; arrays lie in the file
of ``exchange.py``, at places that the lines give. Whatever a framework or an interpreter's wrapper prints is never
read as an answer.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec, from_dict
from frameworks.errors import UserError
from frameworks.protocol import DEVICE_VARIABLE, Case, Detections, Framework, Profiler, Stepper, StepRecord
from frameworks.shared.memory import keep_freed_memory
from frameworks.workers.exchange import Exchange


class Session:
    """A framework and the training run that it started. Specs and cases come as plain dictionaries."""

    def __init__(self, framework: Framework) -> None:
        self.framework = framework
        self.stepper: Stepper | None = None

    def method(self, request: str) -> Callable[..., Any]:
        """The method that serves a request: ``stepper.NAME`` of the training run, ``own.NAME`` of a user's own
        object in the framework's place (experiments/diagnosis), any other of this class.

        Raises:
            ValueError: a request to the training run before ``trainer``.
        """
        owner, _, name = request.rpartition(".")
        if owner == "stepper" and self.stepper is None:
            raise ValueError("no trainer in this worker: send 'trainer' first")
        return getattr({"": self, "stepper": self.stepper, "own": self.framework}[owner], name)

    def supports(self, device: str, dtype: str) -> str | None:
        """As in ``Framework``."""
        return self.framework.supports(device, dtype)

    def environment(self, device: str) -> dict[str, Any]:
        """As in ``Framework``, with the worker's interpreter."""
        record = dict(self.framework.environment(device))
        return record | {"python": sys.version.split()[0], "executable": sys.executable}

    def parameter_shapes(self, spec: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        """As in ``Framework``."""
        return self.framework.parameter_shapes(from_dict(ModelSpec, spec))

    def trace(self, case: dict[str, Any], **arguments: Any) -> Arrays:
        """As in ``Framework``."""
        return self.framework.trace(from_dict(Case, case), **arguments)

    def trainer(self, spec: dict[str, Any], **arguments: Any) -> None:
        """Start a training run, which serves the requests ``stepper.NAME`` from now on."""
        self.stepper = self.framework.trainer(from_dict(ExperimentSpec, spec), **arguments)

    def predict(self, spec: dict[str, Any], **arguments: Any) -> Detections:
        """As in ``Framework``."""
        return self.framework.predict(from_dict(ExperimentSpec, spec), **arguments)

    def profile(self, spec: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        """As in ``Profiler``; empty where the framework is none."""
        if not isinstance(self.framework, Profiler):
            return {}
        return self.framework.profile(from_dict(ExperimentSpec, spec), **arguments)


def split(result: Any) -> tuple[Any, Arrays]:
    """A method's result as a plain value for the answer line, and its arrays."""
    match result:
        case Detections():
            values = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
            return values, values.pop("arrays")
        case StepRecord():
            return dataclasses.asdict(result), {}
        case dict() if any(isinstance(value, np.ndarray) for value in result.values()):
            return None, result
    return result, {}


def answer(session: Session, line: str, exchange: Exchange) -> dict[str, Any]:
    """Run one request line and return its answer. An exception becomes an answer; the worker goes on."""
    request = json.loads(line)
    try:
        method = session.method(request["request"])
        value, arrays = split(method(**request["arguments"], **exchange.read(request["arrays"])))
        json.dumps(value)  # a value that is not JSON is an error of the framework, and reported as one
        return {"ok": True, "value": value, "arrays": exchange.write({"answer": arrays})}
    except UserError as error:
        return _refusal("user", str(error))
    except FloatingPointError as error:
        return _refusal("not-finite", str(error))
    except Exception as error:  # the caller decides what a failed case means
        return _refusal("exception", f"{type(error).__name__}: {error}") | {"traceback": traceback.format_exc()}


def _refusal(kind: str, message: str) -> dict[str, Any]:
    return {"ok": False, "kind": kind, "message": message}


def main() -> None:
    """Load the framework that the command line names, report that it is ready (or why not), and serve requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument(
        "--adapter", help="module that defines FRAMEWORK, or FILE.py:NAME (default: the registered one)"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--exchange", type=int, required=True, help="inherited descriptor of the file for arrays")
    parser.add_argument("--answers", type=int, required=True, help="inherited descriptor of the pipe for answers")
    arguments = parser.parse_args()
    os.environ[DEVICE_VARIABLE] = arguments.device
    exchange = Exchange(arguments.exchange)
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the caller logs it; a crash would lose what waits
    os.set_inheritable(arguments.answers, False)  # compilers that this process starts must not hold the pipe
    with os.fdopen(arguments.answers, "w", encoding="ascii") as answers:
        import frameworks

        try:
            session = Session(frameworks.load(arguments.name, arguments.adapter))
        except UserError as error:
            print(json.dumps(_refusal("user", str(error))), file=answers, flush=True)
            sys.exit(2)
        print(json.dumps({"ok": True, "value": "ready"}), file=answers, flush=True)
        # Ctrl-C is handled by the caller, which ends workers by closing their input.
        with contextlib.suppress(KeyboardInterrupt):
            for line in sys.stdin:
                print(json.dumps(answer(session, line, exchange)), file=answers, flush=True)


if __name__ == "__main__":
    main()
