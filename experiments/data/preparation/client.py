"""Prepare examples in other processes, which are started when they are first needed and used until the end."""

import atexit
import contextlib
import os
import pickle
import subprocess
import sys
from collections import deque
from pathlib import Path

from experiments.data.preparation.example import Example, ExampleTask
from frameworks.errors import UserError

_REPOSITORY = Path(__file__).resolve().parents[3]
_SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Worker:
    """A process that prepares one example at a time."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, [str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]))
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "experiments.data.preparation.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | _SINGLE | {"PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C at the terminal reaches the caller only
            )
        except OSError as error:
            raise UserError(f"cannot start a process that reads images: {error.strerror}") from None
        assert self.process.stdin and self.process.stdout
        self._tasks, self._replies = self.process.stdin, self.process.stdout

    def prepare(self, task: ExampleTask) -> Example:
        """Send a task and wait for its example.

        Raises:
            UserError: the image cannot be read, or the process died, as one that takes too much memory does.
            RuntimeError: any other error, with the traceback of the process.
        """
        try:
            pickle.dump(task, self._tasks, protocol=pickle.HIGHEST_PROTOCOL)
            self._tasks.flush()
            reply = pickle.load(self._replies)
        except (OSError, EOFError, pickle.UnpicklingError):
            self.close()
            status = self.process.returncode
            how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
            raise UserError(f"{task.path}: the process that reads images {how}; is there enough memory?") from None
        if isinstance(reply, UserError):
            raise reply
        if isinstance(reply, str):
            raise RuntimeError(f"{task.path}: cannot be prepared:\n{reply}")
        return reply

    @property
    def alive(self) -> bool:
        """Whether the process can take another task."""
        return self.process.returncode is None

    def close(self) -> None:
        """End the process by closing its input, and wait for its end."""
        for pipe in (self._tasks, self._replies):
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait()


_idle: deque[Worker] = deque()


def prepare_elsewhere(task: ExampleTask) -> Example:
    """Prepare an example in a process that has nothing to do, or in a new one; for threads, which wait meanwhile.

    Raises as `Worker.prepare` does.
    """
    try:
        worker = _idle.pop()
    except IndexError:
        worker = Worker()
    try:
        return worker.prepare(task)
    finally:
        if worker.alive:
            _idle.append(worker)


def _close_all() -> None:
    while _idle:
        _idle.pop().close()


atexit.register(_close_all)
