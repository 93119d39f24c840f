"""Jittor's first import, which compiles for minutes: done once, in a subprocess, visibly, and checked.

In a subprocess, because Jittor may end its process in the middle of an import ("jit_utils updated, please rerun
your command", exit status 0), and because a crash while a library is loaded can't be caught. A stamp in the cache
lets every later start skip it.
"""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from frameworks.errors import UserError
from frameworks.jittor_rtdetr.runtime.checks import write_atomically
from frameworks.jittor_rtdetr.runtime.probe import MARK

PROBE = Path(__file__).with_name("probe.py")
INTERVAL_S = 5.0
RUNS = 3  # Jittor asks for at most one more run after it rebuilt its own helper
STEP = re.compile(r"Compiling ([\w .-]+)\((\d+)/(\d+)\)")
ERROR_LINE = re.compile(r"error|fatal|undefined|no space|not found|denied|killed|abort|segfault", re.IGNORECASE)
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
MEANING = {
    "arithmetic": "1 + 1 is wrong; is NumPy older than 2?",
    "nan_differs_from_itself": "NaN equals itself, so the compiler broke IEEE rules",
    "float64_stays": "float64 loses its precision",
    "denormals_stay": "denormal numbers are flushed to zero, so the compiler broke IEEE rules",
    "division_is_rounded": "1/x is not correctly rounded, so fast math is on",
    "convolution": "a convolution is off by more than 1e-4, so it is wrong or runs in reduced precision",
    "onednn": "a convolution does not use oneDNN and would be about 100 times slower",
}

Progress = Callable[[str], None]


def warm_up(state: Path, key: str, device: str, progress: Progress | None = None) -> dict[str, Any]:
    """The stamp's content. Compiles only if no stamp says that this very environment was compiled before."""
    stamp = state / f"ready-{device}-{key}.json"
    content = read_stamp(stamp)
    if content is not None:
        return content
    say = progress or _to_stderr
    with _lock(state / f"warm-up-{device}-{key}.lock", say):
        content = read_stamp(stamp)  # another process may have done it while this one waited
        if content is None:
            content = _compile(state, key, device, say)
            write_atomically(stamp, json.dumps(content, indent=1))
    return content


def read_stamp(stamp: Path) -> dict[str, Any] | None:
    """None as well when the compiled files that the stamp speaks of were deleted."""
    try:
        content = json.loads(stamp.read_text(encoding="utf-8"))
        core = next(Path(content["cache_path"]).glob("jittor_core*.so"), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if core is not None else None


def _compile(state: Path, key: str, device: str, say: Progress) -> dict[str, Any]:
    log = state / f"warm-up-{device}-{key}.log"
    start = time.monotonic()
    say("Jittor compiles itself before its first use on this machine: some minutes, once")
    for _ in range(RUNS):
        status, output = _run(log, device, say, start)
        found = [line for line in output.splitlines() if line.startswith(MARK)]
        if status != 0:
            raise UserError(f"Jittor could not be compiled: {last_useful_line(output, status)} (full log: {log})")
        if found:
            break
    else:
        raise UserError(
            f"Jittor's import ended {RUNS} times without an error and without a result (full log: {log})"
        )
    content = json.loads(found[-1][len(MARK) :])
    if device == "cpu":
        content["checks"]["onednn"] = _used_onednn(output)
    _require(content, device, log)
    content["seconds"] = round(time.monotonic() - start, 1)
    say(f"Jittor is ready ({content['seconds']:.0f} s; later starts skip this)")
    return content


def _require(content: dict[str, Any], device: str, log: Path) -> None:
    failed = [MEANING[name] for name, passed in content["checks"].items() if not passed]
    if failed:
        raise UserError(f"Jittor computes wrongly on this machine: {'; '.join(failed)} (full log: {log})")
    if device == "cuda" and not content["has_cuda"]:
        raise UserError(f"Jittor was compiled without CUDA although device cuda was asked for (full log: {log})")


def _used_onednn(output: str) -> bool:
    # What DNNL_VERBOSE=1 makes the library print for each primitive that it runs.
    return any("verbose,exec,cpu,convolution" in line for line in output.splitlines())


def _run(log: Path, device: str, say: Progress, start: float) -> tuple[int, str]:
    """Run the probe with its output going to the log, and report every few seconds what it is doing."""
    variables = {
        **os.environ,
        "log_silent": "0",  # otherwise it would not say what it compiles
        "DNNL_VERBOSE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        # The same modules as here, wherever the subprocess starts: NumPy may come from a folder of its own.
        "PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path),
    }
    # runpy, so that this folder does not come first on the probe's path and shadow other modules.
    code = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    command = [sys.executable, "-c", code, str(PROBE), device]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, env=variables, cwd=log.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        chunks: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=_collect, args=(process.stdout, file, chunks), daemon=True)
        reader.start()
        try:
            _watch(process, chunks, say, start)
        except BaseException:
            # Ctrl-C: the compilers are the probe's children and would go on without it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            reader.join(timeout=10)
    return process.returncode, COLOURS.sub("", "".join(chunks))


def _collect(stream: IO[bytes], file: IO[str], chunks: list[str]) -> None:
    while data := os.read(stream.fileno(), 65536):
        # Progress lines end with a carriage return, which would make the log one long line.
        text = data.decode("utf-8", "replace").replace("\r", "\n")
        chunks.append(text)
        file.write(text)
        file.flush()
    stream.close()


def _watch(process: subprocess.Popen[bytes], chunks: list[str], say: Progress, start: float) -> None:
    said = time.monotonic()
    while True:
        try:
            process.wait(timeout=0.2)
            return
        except subprocess.TimeoutExpired:
            if time.monotonic() - said >= INTERVAL_S:
                said = time.monotonic()
                say(f"Jittor, first start, {said - start:.0f} s: {describe_step(''.join(chunks[-50:]))}")


def describe_step(output: str) -> str:
    """What is being compiled, in words, from the last progress line of Jittor's output."""
    steps = STEP.findall(output)
    if not steps:
        return "compiling"
    name, done, total = steps[-1]
    for start, meaning in (("jittor_core", "its core"), ("gen_ops_mkl", "its oneDNN operators"),
                           ("Operators", "operators"), ("gen_ops_cu", "its CUDA operators")):  # fmt: skip
        if name.startswith(start):
            name = meaning
    return f"compiling {name}, file {done} of {total}"


def last_useful_line(output: str, status: int) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not lines:
        return f"no output, exit status {status}"
    return next((line for line in reversed(lines) if ERROR_LINE.search(line)), lines[-1])[:400]


@contextlib.contextmanager
def _lock(path: Path, say: Progress) -> Iterator[None]:
    """One process compiles, others wait and say so. The system frees the lock of a process that died."""
    with path.open("w") as file:
        said = None
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if said is None or time.monotonic() - said >= INTERVAL_S:
                    said = time.monotonic()
                    say("Jittor is being compiled by another process, waiting for it")
                time.sleep(0.2)
        yield


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
