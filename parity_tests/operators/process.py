"""Ask the process that runs Jittor, and start another one where it crashed or hung."""

import base64
import contextlib
import json
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from frameworks.errors import UserError
from parity_tests.operators.child import AT_ONCE
from reports.operators.records import CRASHES, HANGS

STARTS_S = 900.0  # Jittor may compile itself first
ANSWERS_S = 120.0  # a kernel compiles in a second, or waits for another process that compiles
ARGUMENTS = ("-m", "parity_tests.operators.child")


class JittorProcess:
    """Runs calls of the catalogue in a child; a context manager."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by __exit__

    def __enter__(self) -> "JittorProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        self.log.close()

    def ask(self, operator: str, call: str, label: str, dtype: str) -> dict[str, Any]:
        """The child's answer, or {"ended": verdict, "how": signal or status} where it crashed or hung.

        Raises:
            UserError: the child doesn't start.
        """
        if self.process is None:
            self._start()
        assert self.process is not None and self.process.stdin is not None
        request = {"operator": operator, "call": call, "label": label, "dtype": dtype}
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{json.dumps(request)}\n".encode())
            self.process.stdin.flush()
        line = self._line(ANSWERS_S)
        if line is None:
            self._end()
            return {"ended": HANGS, "how": f"no answer within {ANSWERS_S:.0f} s"}
        if not line:
            how = self._how_it_ended()
            self._end()
            return {"ended": CRASHES, "how": how}
        answer = pickle.loads(base64.b64decode(line))
        if any(name not in AT_ONCE for name, _ in answer.get("errors", {}).values()):
            self._end()
        return answer

    def _start(self) -> None:
        reading, writing = os.pipe()
        command = [sys.executable, *ARGUMENTS, str(writing)]
        root = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            pass_fds=[writing],
            cwd=root,
            start_new_session=True,
        )
        os.close(writing)
        self.pipe, self.buffer = reading, b""
        if self._line(STARTS_S) != b"ready":
            how = self._how_it_ended()
            self._end()
            raise UserError(f"the process that runs Jittor did not start: {how}")

    def _line(self, seconds: float) -> bytes | None:
        """The next line; empty if the child ended, None if it is silent for so long."""
        while b"\n" not in self.buffer:
            if not select.select([self.pipe], [], [], seconds)[0]:
                return None
            found = os.read(self.pipe, 1 << 20)
            if not found:
                return b""
            self.buffer += found
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def _how_it_ended(self) -> str:
        """Signal or exit status, and the signal that Jittor's own handler wrote to the log before it exited."""
        assert self.process is not None
        status = self.process.wait(timeout=30)
        self.log.seek(0)
        text = self.log.read().decode("utf-8", "replace")
        caught = re.findall(r"Caught \w+", text)
        named = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"{named}, Jittor's handler: {caught[-1]}" if caught else named

    def _end(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # its compilers too
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        os.close(self.pipe)
        self.log.seek(0)
        self.log.truncate()
        self.process = None
