"""Start a framework in a worker process and use it like one in this process.

A worker that crashes, hangs or is killed raises ``WorkerFailure`` with the end of its standard error; the caller
can go on with the next case.
"""

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import frameworks
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec, to_dict
from frameworks.errors import UserError
from frameworks.protocol import DEVICE_VARIABLE, Case, Detections, Framework
from frameworks.threads import thread_count
from frameworks.workers import activity
from frameworks.workers.exchange import Exchange
from frameworks.workers.stepper import WorkerStepper

Log = Callable[[str], None]
NOTICE_S = 5.0  # how often to look what a worker does
SILENT_S = 600.0  # without an answer and without using the processor, after which a worker is given up
CLOSED_S = 5.0  # for a worker that closed its channel to end
REPOSITORY = Path(__file__).resolve().parents[2]


class WorkerFailure(Exception):
    """A request that a worker did not complete.

    Attributes:
        kind: "crash", "timeout" or "exception".
        message: one line.
        stderr_tail: the last lines that the worker printed; for an exception, its traceback.
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
    variables: Mapping[str, str] | None = None,
) -> Iterator[Framework]:
    """Context manager that starts a framework, by default in a worker process, and ends it at exit.

    Args:
        name: a name in ``frameworks.ADAPTERS`` or ``frameworks.JUDGES``.
        device: "cpu" or "cuda"; fixed for the life of the process.
        python: interpreter of the worker, where each framework has its own environment; None: this one.
        in_process: load the framework into this process, for a debugger.
        timeout: seconds for one request, after which the worker is killed; None: no limit while it computes.
        log: called with each piece of text that the worker writes to standard output or standard error.
        variables: environment variables of the worker beside those of this process.

    Raises:
        UserError: unknown framework, no such interpreter, or the framework cannot start there.
        WorkerFailure: the worker died while starting.
    """
    adapter = frameworks.adapter_of(name)
    if in_process:
        os.environ[DEVICE_VARIABLE] = device
        yield frameworks.load(name)
        return
    worker = Worker(name, adapter, device, python or sys.executable, timeout, log, variables)
    try:
        yield worker
    except BaseException:
        worker._kill()  # what it computes nobody waits for
        raise
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
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.timeout, self.log = name, timeout, log
        self.tail: deque[str] = deque(maxlen=40)
        self.exchange = Exchange()
        self.answers: queue.Queue[str | None] = queue.Queue()
        command = [python, "-m", "frameworks.workers.worker", name, "--adapter", adapter, "--device", device]
        if (
            threading.current_thread() is threading.main_thread()
        ):  # the kernel would take another's end for the caller's
            command.append("--end-with-caller")
        try:
            self.process, channel = self._start(command, os.environ | dict(variables or {}))
        except OSError as error:
            self.exchange.close()
            raise UserError(f"cannot start {python!r} for {name}: {error.strerror}") from None
        self.reader = threading.Thread(target=self._read_answers, args=(channel,), daemon=True)
        self.listener = threading.Thread(target=self._read_output, daemon=True)
        self.reader.start()
        self.listener.start()
        try:
            self._receive("start")
        except BaseException:
            self._kill()  # it may be compiling, and would not see that its input is closed
            self.close()
            raise

    def _start(self, command: list[str], variables: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
        """The process, and the descriptor from which its answers are read.

        Answers have a pipe of their own, because a wrapper or a site file may print to standard output.
        """
        channel, answers = os.pipe()
        inherited = (self.exchange.descriptor, answers)
        # OpenMP's library complains about what is no number, and reads it before the framework is asked.
        own = {"PYTHONPATH": _python_path(), "OMP_NUM_THREADS": str(thread_count(variables))}
        try:
            process = subprocess.Popen(
                [*command, "--exchange", str(inherited[0]), "--answers", str(inherited[1])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                env={**variables, **own},
                start_new_session=True,  # Ctrl-C at the terminal reaches the caller only, which ends its workers
            )
        except OSError:
            os.close(channel)
            raise
        finally:
            os.close(answers)
        return process, channel

    def supports(self, device: str, dtype: str) -> str | None:
        """As in ``Framework``."""
        return self.request("supports", device=device, dtype=dtype)[0]

    def environment(self, device: str) -> Mapping[str, Any]:
        """As in ``Framework``."""
        return self.request("environment", device=device)[0] | {"exchange": self.exchange.kind}

    def parameter_shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        """As in ``Framework``."""
        shapes, _ = self.request("parameter_shapes", spec=to_dict(spec))
        return {name: tuple(shape) for name, shape in shapes.items()}

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        """As in ``Framework``."""
        sent = {"weights": weights, "inputs": inputs}
        return self.request("trace", sent, case=to_dict(case), device=device, dtype=dtype)[1]

    def trainer(
        self, spec: ExperimentSpec, weights: Arrays, *, device: str, dtype: str = "float32"
    ) -> WorkerStepper:
        """Start a training run in the worker; a second one replaces it."""
        given = {} if dtype == "float32" else {"dtype": dtype}  # a port may know float32 alone
        self.request("trainer", {"weights": weights}, spec=to_dict(spec), device=device, **given)
        return WorkerStepper(self.request, self.process.pid)

    def predict(self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str) -> Detections:
        """As in ``Framework``."""
        sent = {"weights": weights, "images": images}
        values, arrays = self.request("predict", sent, spec=to_dict(spec), device=device)
        return Detections(arrays, **values)

    def profile(self, spec: ExperimentSpec, weights: Arrays, batch: Arrays, *, device: str) -> dict[str, Any]:
        """As in ``Profiler``; empty where the framework in the worker is none."""
        sent = {"weights": weights, "batch": batch}
        return self.request("profile", sent, spec=to_dict(spec), device=device)[0]

    def profile_inference(
        self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str, repeats: int
    ) -> dict[str, Any]:
        """As in ``InferenceProfiler``; empty where the framework in the worker is none."""
        sent, given = {"weights": weights, "images": images}, {"device": device, "repeats": repeats}
        return self.request("profile_inference", sent, spec=to_dict(spec), **given)[0]

    def request(self, name: str, sent: Mapping[str, Arrays] | None = None, **arguments: Any) -> tuple[Any, Arrays]:
        """Send a request and wait for its answer.

        Args:
            name: a method of ``worker.Session``, or ``stepper.NAME`` for one of the training run.
            sent: array arguments.
            arguments: the other arguments, plain JSON.

        Returns:
            the plain value of the answer and its arrays, each may be empty.

        Raises:
            UserError, FloatingPointError: as the framework raised them.
            WorkerFailure: any other exception in the framework, a crash, or no answer within ``timeout``.
        """
        assert self.process.stdin is not None
        line = {"request": name, "arguments": arguments, "arrays": self.exchange.write(sent or {})}
        try:
            self.process.stdin.write(f"{json.dumps(line)}\n".encode())
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError, OSError):
            raise self._crash(name) from None
        reply = self._receive(name)
        return reply["value"], self.exchange.read(reply["arrays"])["answer"]

    def close(self) -> None:
        """Close the worker's input, which ends it; kill it if it is still there after 5 seconds."""
        with contextlib.suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._kill()
            self.process.wait()
        self.reader.join(timeout=5)
        self.listener.join(timeout=5)
        if self.process.stdout and not self.listener.is_alive():  # closing a pipe under its reader would block
            self.process.stdout.close()
        self.exchange.close()

    def _receive(self, request: str) -> dict[str, Any]:
        line = self._next_answer(request)
        if line is None:
            raise self._crash(request)
        reply = json.loads(line)
        if reply["ok"]:
            return reply
        if reply["kind"] == "user":
            raise UserError(reply["message"])
        if reply["kind"] == "not-finite":
            raise FloatingPointError(reply["message"])
        raise WorkerFailure("exception", f"{self.name} worker, {request}: {reply['message']}", reply["traceback"])

    def _next_answer(self, request: str) -> str | None:
        """Wait for a line, or for the worker's end; say when another process keeps the worker waiting.

        Raises:
            WorkerFailure: no answer within ``timeout``, or the worker has not computed for ``SILENT_S``.
        """
        end = time.monotonic() + (self.timeout or math.inf)
        said, used, silent = None, 0, 0  # process that it waits for; processor time; looks that saw none used
        while True:
            left = end - time.monotonic()
            with contextlib.suppress(queue.Empty):
                return self.answers.get(timeout=max(0.0, min(left, NOTICE_S)))
            if left <= NOTICE_S:
                raise self._given_up(f"did not answer {request!r} within {self.timeout:g} s")
            if self.process.poll() is not None:  # another process may hold the channel open
                return None
            holder = activity.holder_of_awaited_lock(self.process.pid)
            if holder not in (None, said) and self.log:
                self.log(f"{self.name} waits for process {holder}, which compiles into the same cache\n")
            before, used = used, activity.processor_time(self.process.pid)
            silent = silent + 1 if holder is None and used == before else 0
            if silent * NOTICE_S >= SILENT_S:
                raise self._given_up(f"has computed nothing for {SILENT_S:g} s during {request!r}")
            said = holder

    def _given_up(self, why: str) -> WorkerFailure:
        self._kill()
        return WorkerFailure("timeout", f"{self.name} worker {why} and was ended", self._last_words())

    def _crash(self, request: str) -> WorkerFailure:
        try:
            code = self.process.wait(timeout=CLOSED_S)
        except subprocess.TimeoutExpired:
            self._kill()
            how = "closed its channel for answers and was ended"
        else:
            how = f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
        self.listener.join(timeout=5)  # let the last words arrive
        return WorkerFailure("crash", f"{self.name} worker {how} during {request!r}", self._last_words())

    def _kill(self) -> None:
        """End the worker and its children: a compiler that is still running would keep the pipes open."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGTERM)  # on which compilers remove their temporary files
            self.process.wait(timeout=0.3)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        return "".join(self.tail)[-4000:]

    def _read_answers(self, channel: int) -> None:
        with open(channel, encoding="ascii") as lines:
            for line in lines:
                self.answers.put(line)
        self.answers.put(None)

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        while piece := os.read(self.process.stdout.fileno(), 4096):
            text = piece.decode(errors="replace")
            self.tail.append(text)
            if self.log:
                self.log(text)


def _python_path() -> str:
    """PYTHONPATH with this checkout first: the project is not installed for a worker's other interpreter."""
    return os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
