"""python -m frameworks.workers.worker NAME: one framework in one process, answering requests until its input ends.

A request is one JSON line on standard input, an answer one JSON line on the process's own standard output;
arrays travel as safetensors files in a folder that the caller owns. Whatever a framework prints goes to
standard error, so that it can never be taken for an answer.
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


class Session:
    """The requests a worker answers; each method is one request."""

    def __init__(self, framework: Framework, folder: Path) -> None:
        self.framework = framework
        self.folder = folder
        self.stepper: Stepper | None = None

    def supports(self, device: str, dtype: str) -> Any:
        return self.framework.supports(device, dtype)

    def environment(self, device: str) -> Any:
        record = dict(self.framework.environment(device))
        return record | {"python": sys.version.split()[0], "executable": sys.executable}

    def parameter_shapes(self, spec: dict[str, Any]) -> Any:
        return {n: list(s) for n, s in self.framework.parameter_shapes(from_dict(ModelSpec, spec)).items()}

    def trace(self, case: dict[str, Any], weights: str, inputs: str, device: str, dtype: str, answer: str) -> None:
        question = from_dict(Case, case)
        arrays = self.framework.trace(question, self._load(weights), self._load(inputs), device=device, dtype=dtype)
        self._save(answer, arrays)

    def trainer(self, spec: dict[str, Any], weights: str, device: str) -> None:
        self.stepper = self.framework.trainer(from_dict(ExperimentSpec, spec), self._load(weights), device=device)

    def step(self, batch: str, learning_rates: list[float], ema_decay: float) -> Any:
        return dataclasses.asdict(self._stepper().step(self._load(batch), learning_rates, ema_decay))

    def step_predict(self, images: str, answer: str) -> Any:
        detections = self._stepper().predict(self._load(images))
        self._save(answer, detections.arrays)
        return detections.seconds

    def state(self, answer: str) -> None:
        self._save(answer, self._stepper().state())

    def load_state(self, state: str) -> None:
        self._stepper().load(self._load(state))

    def peak_memory_mb(self) -> Any:
        return self._stepper().peak_memory_mb()

    def predict(self, spec: dict[str, Any], weights: str, images: str, device: str, answer: str) -> Any:
        experiment = from_dict(ExperimentSpec, spec)
        detections = self.framework.predict(experiment, self._load(weights), self._load(images), device=device)
        self._save(answer, detections.arrays)
        return detections.seconds

    def _stepper(self) -> Stepper:
        if self.stepper is None:
            raise ValueError("no trainer in this worker: send 'trainer' first")
        return self.stepper

    def _load(self, name: str) -> Arrays:
        return load_arrays(self.folder / name)

    def _save(self, name: str, arrays: Arrays) -> None:
        save_arrays(self.folder / name, arrays)


REQUESTS = tuple(name for name in vars(Session) if not name.startswith("_"))


def answer(session: Session, line: str) -> dict[str, Any]:
    """Answer one request line; an exception becomes an answer, the worker lives on."""
    request = json.loads(line)
    try:
        method: Callable[..., Any] = getattr(session, request["request"])
        value = method(**request["arguments"])
        json.dumps(value)  # an answer that cannot be written is the framework's mistake, not the pipe's
        return {"ok": True, "value": value}
    except UserError as error:
        return {"ok": False, "kind": "user", "message": str(error)}
    except FloatingPointError as error:
        return {"ok": False, "kind": "not-finite", "message": str(error)}
    except Exception as error:  # the caller decides what a failed case means
        return {
            "ok": False,
            "kind": "exception",
            "message": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
        }


def serve(session: Session, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until the input ends."""
    for line in requests:
        print(json.dumps(answer(session, line)), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--adapter", help="dotted module that defines FRAMEWORK (default: the registered one)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, required=True, help="where arrays are exchanged")
    arguments = parser.parse_args()
    os.environ[DEVICE_VARIABLE] = arguments.device
    # Keep the real standard output for answers; anything printed from here on goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr):
        import frameworks

        try:
            session = Session(frameworks.load(arguments.name, arguments.adapter), arguments.folder)
        except UserError as error:
            print(json.dumps({"ok": False, "kind": "user", "message": str(error)}), file=answers, flush=True)
            sys.exit(2)
        print(json.dumps({"ok": True, "value": "ready"}), file=answers, flush=True)
        # Ctrl-C belongs to the caller: it ends workers by closing their input.
        with contextlib.suppress(KeyboardInterrupt):
            serve(session, sys.stdin, answers)


if __name__ == "__main__":
    main()
