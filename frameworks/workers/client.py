"""The caller's side of the boundary: a framework in a worker process that looks like one in this process.

A worker that crashes, hangs or is killed is a ``WorkerFailure`` with the end of what it wrote to standard
error; the session goes on.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import frameworks
from frameworks.arrays import Arrays, load_arrays, save_arrays
from frameworks.config import ExperimentSpec, ModelSpec, to_dict
from frameworks.errors import UserError
from frameworks.protocol import DEVICE_VARIABLE, Case, Detections, Framework, StepRecord

Log = Callable[[str], None]
REPOSITORY = Path(__file__).resolve().parents[2]


class WorkerFailure(Exception):
    """A worker that could not answer.

    Attributes:
        kind: "crash", "timeout" or "exception".
        stderr_tail: the last lines that the worker wrote.
    """

    def __init__(self, kind: str, message: str, stderr_tail: str) -> None:
        super().__init__(message)
        self.kind, self.message, self.stderr_tail = kind, message, stderr_tail


@contextlib.contextmanager
def open_framework(
    name: str,
    *,
    device: str = "cpu",
    python: str | None = None,
    in_process: bool = False,
    timeout: float | None = None,
    log: Log | None = None,
) -> Iterator[Framework]:
    """A framework, by default in a worker process of its own.

    Args:
        python: another interpreter for the worker; people keep one environment per framework.
        in_process: load it here, to step through it with a debugger.
        timeout: seconds after which an unanswered request counts as hanging; None waits for ever.
        log: receives what the worker writes to standard error, piece by piece.

    Raises:
        UserError: unknown framework, no such interpreter, or the framework cannot start there.
        WorkerFailure: the worker died while starting.
    """
    adapter = frameworks.adapter_of(name)
    if in_process:
        os.environ[DEVICE_VARIABLE] = device
        yield frameworks.load(name)
        return
    worker = Worker(name, adapter, device, python or sys.executable, timeout, log)
    try:
        yield worker
    finally:
        worker.close()


class Worker:
    """A framework in a worker process, behind the members of ``frameworks.protocol.Framework``."""

    def __init__(
        self,
        name: str,
        adapter: str,
        device: str,
        python: str,
        timeout: float | None,
        log: Log | None,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.log = log
        self.tail: deque[str] = deque(maxlen=40)
        self.folder = Path(tempfile.mkdtemp(prefix=f"twin-detr-{name}-"))
        self.answers: queue.Queue[str | None] = queue.Queue()
        self.numbers = itertools.count()
        command = [python, "-m", "frameworks.workers.worker", name, "--adapter", adapter]
        command += ["--device", device, "--folder", str(self.folder)]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": _python_path()},
                start_new_session=True,  # a Ctrl-C at the terminal reaches the caller only, which decides
            )
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise UserError(f"cannot start {python!r} for {name}: {error.strerror}") from None
        self.reader = threading.Thread(target=self._read_answers, daemon=True)
        self.listener = threading.Thread(target=self._read_errors, daemon=True)
        self.reader.start()
        self.listener.start()
        try:
            self._receive("start")
        except BaseException:
            self.close()
            raise

    def supports(self, device: str, dtype: str) -> str | None:
        return self._ask("supports", device=device, dtype=dtype)

    def environment(self, device: str) -> Mapping[str, Any]:
        return self._ask("environment", device=device)

    def parameter_shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        return {n: tuple(s) for n, s in self._ask("parameter_shapes", spec=to_dict(spec)).items()}

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        with self._files(weights=weights, inputs=inputs) as files, self._answer() as answer:
            self._ask("trace", case=to_dict(case), **files, device=device, dtype=dtype, answer=answer.name)
            return load_arrays(answer)

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str) -> "WorkerStepper":
        with self._files(weights=weights) as files:
            self._ask("trainer", spec=to_dict(spec), **files, device=device)
        return WorkerStepper(self)

    def predict(self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str) -> Detections:
        with self._files(weights=weights, images=images) as files, self._answer() as answer:
            seconds = self._ask("predict", spec=to_dict(spec), **files, device=device, answer=answer.name)
            return Detections(load_arrays(answer), seconds)

    def close(self) -> None:
        """End the worker: politely by closing its input, then by force."""
        with contextlib.suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._kill()
            self.process.wait()
        for thread, pipe in ((self.reader, self.process.stdout), (self.listener, self.process.stderr)):
            thread.join(timeout=5)
            if pipe and not thread.is_alive():  # closing a pipe under its reader would block
                pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ask(self, request: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        line = json.dumps({"request": request, "arguments": arguments}) + "\n"
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError, OSError):
            raise self._crash(request) from None
        return self._receive(request)

    def _receive(self, request: str) -> Any:
        try:
            line = self.answers.get(timeout=self.timeout)
        except queue.Empty:
            self._kill()
            message = f"{self.name} worker did not answer {request!r} within {self.timeout:g} s and was ended"
            raise WorkerFailure("timeout", message, self._stderr_tail()) from None
        if line is None:
            raise self._crash(request)
        reply = json.loads(line)
        if reply["ok"]:
            return reply["value"]
        if reply["kind"] == "user":
            raise UserError(reply["message"])
        if reply["kind"] == "not-finite":
            raise FloatingPointError(reply["message"])
        raise WorkerFailure("exception", f"{self.name} worker, {request}: {reply['message']}", reply["traceback"])

    def _crash(self, request: str) -> WorkerFailure:
        code = self.process.wait()
        self.listener.join(timeout=5)  # let the last words arrive
        how = f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
        return WorkerFailure("crash", f"{self.name} worker {how} during {request!r}", self._stderr_tail())

    def _kill(self) -> None:
        """End the worker and what it started: a compiler that outlived it would keep its pipes open."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _stderr_tail(self) -> str:
        return "".join(self.tail)[-4000:]

    def _read_answers(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line.decode())
        self.answers.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while piece := os.read(self.process.stderr.fileno(), 4096):
            text = piece.decode(errors="replace")
            self.tail.append(text)
            if self.log:
                self.log(text)

    @contextlib.contextmanager
    def _files(self, **arrays: Arrays) -> Iterator[dict[str, str]]:
        paths = {key: self.folder / f"{next(self.numbers)}-{key}.safetensors" for key in arrays}
        try:
            for key, path in paths.items():
                save_arrays(path, arrays[key])
            yield {key: path.name for key, path in paths.items()}
        finally:
            for path in paths.values():
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _answer(self) -> Iterator[Path]:
        path = self.folder / f"{next(self.numbers)}-answer.safetensors"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class WorkerStepper:
    """The training run inside a worker; see ``frameworks.protocol.Stepper``."""

    worker: Worker

    def step(self, batch: Arrays, learning_rates: list[float], ema_decay: float) -> StepRecord:
        with self.worker._files(batch=batch) as files:
            record = self.worker._ask("step", **files, learning_rates=learning_rates, ema_decay=ema_decay)
        return StepRecord(**record)

    def predict(self, images: Arrays) -> Detections:
        with self.worker._files(images=images) as files, self.worker._answer() as answer:
            seconds = self.worker._ask("step_predict", **files, answer=answer.name)
            return Detections(load_arrays(answer), seconds)

    def state(self) -> Arrays:
        with self.worker._answer() as answer:
            self.worker._ask("state", answer=answer.name)
            return load_arrays(answer)

    def load(self, state: Arrays) -> None:
        with self.worker._files(state=state) as files:
            self.worker._ask("load_state", **files)

    def peak_memory_mb(self) -> float:
        return self.worker._ask("peak_memory_mb")


def _python_path() -> str:
    """This checkout first: a worker under another interpreter has not installed the project."""
    return os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
