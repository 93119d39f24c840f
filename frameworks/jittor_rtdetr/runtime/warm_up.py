"""Run Jittor's first import, which compiles for minutes, once, in a subprocess, and check the result.

In a subprocess, because Jittor may end its process in the middle of an import ("jit_utils updated, please rerun
your command", exit status 0), and because a crash while a library is loaded cannot be caught. Later starts find a
stamp in the cache and skip it.
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
from frameworks.jittor_rtdetr.runtime import compiler_script
from frameworks.jittor_rtdetr.runtime.checks import write_atomically
from frameworks.jittor_rtdetr.runtime.probe import MARK

PROBE = Path(__file__).with_name("probe.py")
SETTINGS = "settings"  # the home folder that Jittor sees, in which it keeps its settings file
INTERVAL_S = 5.0
RUNS = 3  # Jittor needs at most one more run after it rebuilt its own helper
STEP = re.compile(r"Compiling ([\w .-]+)\((\d+)/(\d+)\)")
ERROR_LINE = re.compile(r"error|fatal|undefined|no space|not found|denied|killed|abort|segfault", re.IGNORECASE)
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PARTS = {
    "jittor_core": "its core",
    "gen_ops_mkl": "its oneDNN operators",
    "Operators": "operators",
    "gen_ops_cu": "its CUDA operators",
}
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


def warm_up(
    state: Path, key: str, device: str, progress: Progress | None = None, script: Path | None = None
) -> dict[str, Any]:
    """Compile Jittor and check what it computes, unless a stamp says that this has been done.

    Args:
        state: folder for stamp, lock and log.
        key: hash of everything that the compiled files depend on.
        device: "cpu" or "cuda".
        progress: called with a line every few seconds; None: standard error.
        script: compiles in place of g++ (see ``compiler_script``).

    Returns:
        the stamp's content: the cache's path, flags, the checks and the seconds that it took.

    Raises:
        UserError: the compilation failed, or a check found a wrong result; the line has the path of the log.
    """
    stamp = state / f"ready-{device}-{key}.json"
    content = read_stamp(stamp)
    if content is not None:
        return content
    say = progress or _to_stderr
    with _lock(state / f"warm-up-{device}-{key}.lock", say):
        content = read_stamp(stamp)  # another process may have done it while this one waited
        if content is None:
            content = _compile(state, key, device, script, say)
            write_atomically(stamp, json.dumps(content, indent=1))
    return content


def read_stamp(stamp: Path) -> dict[str, Any] | None:
    """Content of a stamp; None if there is none, it is damaged, or the compiled files were deleted."""
    try:
        content = json.loads(stamp.read_text(encoding="utf-8"))
        core = next(Path(content["cache_path"]).glob("jittor_core*.so"), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if core is not None else None


def _compile(state: Path, key: str, device: str, script: Path | None, say: Progress) -> dict[str, Any]:
    if script:
        compiler_script.forget_unfinished(script.parent)
    log = state / f"warm-up-{device}-{key}.log"
    start = time.monotonic()
    say("Jittor compiles itself before its first use on this machine: some minutes, once")
    for _ in range(RUNS):
        status, output = _run(log, [device, str(script or "")], say, start)
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


def _run(log: Path, arguments: list[str], say: Progress, start: float) -> tuple[int, str]:
    """Run the probe with its output going to the log, and report every few seconds what it is doing."""
    variables = {
        **os.environ,
        "HOME": str(log.parent / SETTINGS),
        "log_silent": "0",  # otherwise it does not print what it compiles
        "DNNL_VERBOSE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        # The same modules as in this process: NumPy may come from another folder.
        "PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path),
    }
    # runpy, so that this folder is not first on the probe's search path, where it would hide other modules.
    code = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    command = [sys.executable, "-c", code, str(PROBE), *arguments]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            env=variables,
            cwd=log.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        chunks: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=_collect, args=(process.stdout, file, chunks), daemon=True)
        reader.start()
        try:
            _watch(process, chunks, say, start)
        except BaseException:
            # After Ctrl-C the compilers, which are the probe's children, would go on.
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
    """The last progress line of Jittor's output in words: "compiling operators, file 3 of 20"."""
    steps = STEP.findall(output)
    if not steps:
        return "compiling"
    name, done, total = steps[-1]
    part = next((words for start, words in PARTS.items() if name.startswith(start)), name)
    return f"compiling {part}, file {done} of {total}"


def last_useful_line(output: str, status: int) -> str:
    """The last line of the output that looks like an error, else its last line, at most 400 characters."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not lines:
        return f"no output, exit status {status}"
    return next((line for line in reversed(lines) if ERROR_LINE.search(line)), lines[-1])[:400]


@contextlib.contextmanager
def _lock(path: Path, say: Progress) -> Iterator[None]:
    """Hold a lock file; wait, with a message, while another process has it. It is freed when its process dies."""
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
