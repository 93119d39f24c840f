"""How workers end: each kind of failure is reported and survived, and nothing is left behind.

Fake frameworks are modules on PYTHONPATH; the adapter's module travels to the worker as an argument.
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import frameworks
from frameworks.errors import UserError
from frameworks.tests.waiting import ended, eventually
from frameworks.workers import client


@pytest.fixture(scope="module", autouse=True)
def killed_children_are_survived():
    """Where an earlier test imported Jittor, its handler would end this process without a word."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


FAKE = """
import fcntl, os, subprocess, sys, time
import numpy as np
from frameworks.errors import UserError

class Fake:
    name = "fake"

    def supports(self, device, dtype):
        if device == "exit":
            print("last words", file=sys.stderr, flush=True)
            os._exit(3)
        if device == "hang":
            subprocess.Popen(["sleep", "60"])  # as a compiler would, it holds the worker's pipes
            time.sleep(60)
        if device == "sys.exit":
            sys.exit("gave up")
        if device == "print":
            print("garbage from Python")
            os.write(1, b'{"ok": true, "value": "garbage from C"}\\n')
            sys.__stdout__.write("more garbage\\n")
        if device == "close":
            os.closerange(3, 4096)  # the pipe for answers too
            time.sleep(60)
        if device == "bytes":
            os.write(1, b"\\xff\\xfe not UTF-8\\n")
        if device == "busy":
            while True:
                pass
        if device == "wait":
            print("waiting", file=sys.stderr, flush=True)
            time.sleep(60)
        if device.startswith("lock "):
            with open(device[5:], "r+") as file:
                fcntl.lockf(file, fcntl.LOCK_EX)
        if device == "user":
            raise UserError("not on this machine")
        if device == "nan":
            raise FloatingPointError("loss is nan")
        if device == "talk":
            for line in range(1000):
                print(f"line {line}", file=sys.stderr)
            raise RuntimeError("and then it broke")
        return device

print("garbage at import")
FRAMEWORK = Fake()
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A framework named ``fake`` that workers know; other adapters of this process are left alone."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "fake_adapter.py").write_text(FAKE)
    (tmp_path / "path" / "needs_package.py").write_text("import a_package_that_nobody_has\n")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setattr(
        frameworks, "ADAPTERS", frameworks.ADAPTERS | {"fake": "fake_adapter", "needs": "needs_package"}
    )
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    yield "fake"
    assert list((tmp_path / "temporary").iterdir()) == [], "a file is left behind"


def test_fake_answers(fake):
    with client.open_framework(fake, timeout=60) as worker:
        assert worker.supports("echo", "float32") == "echo"


def test_printing_cannot_be_taken_for_an_answer(fake):
    heard: list[str] = []
    with client.open_framework(fake, timeout=60, log=heard.append) as worker:
        assert worker.supports("print", "float32") == "print"
        assert worker.supports("echo", "float32") == "echo"
    text = "".join(heard)
    assert all(words in text for words in ("garbage at import", "garbage from Python", "garbage from C"))


def test_a_wrapper_of_the_interpreter_may_print(fake, tmp_path):
    """A banner in front of the first answer, in bytes that are no text, and a process that holds the pipes."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f"#!/bin/sh\nprintf 'welcome \\377\\n'\nsleep 6 &\nexec {sys.executable} \"$@\"\n")
    wrapper.chmod(0o755)
    heard: list[str] = []
    with client.open_framework(fake, timeout=60, log=heard.append, python=str(wrapper)) as worker:
        assert worker.supports("bytes", "float32") == "bytes"
        with pytest.raises(client.WorkerFailure, match="exited with status 3 during 'supports'"):
            worker.supports("exit", "float32")
    text = "".join(heard)
    assert "welcome \ufffd" in text and "\ufffd\ufffd not UTF-8" in text and "last words" in text


def test_a_worker_that_lost_its_channel_is_a_crash(fake, monkeypatch):
    monkeypatch.setattr(client, "CLOSED_S", 0.2)
    with client.open_framework(fake) as worker:
        with pytest.raises(client.WorkerFailure, match="closed its channel for answers and was ended") as caught:
            worker.supports("close", "float32")
        assert caught.value.kind == "crash"


def test_a_worker_that_computes_nothing_is_given_up(fake, monkeypatch):
    monkeypatch.setattr(client, "NOTICE_S", 0.1)
    monkeypatch.setattr(client, "SILENT_S", 0.5)
    with client.open_framework(fake, timeout=60) as worker:
        with pytest.raises(
            client.WorkerFailure, match=r"has computed nothing for 0.5 s during 'supports'"
        ) as caught:
            worker.supports("wait", "float32")
        assert caught.value.kind == "timeout"
    with client.open_framework(fake, timeout=60) as worker:
        assert isinstance(worker, client.Worker)
        worker.timeout = 2
        with pytest.raises(client.WorkerFailure, match=r"did not answer 'supports' within 2 s"):
            worker.supports("busy", "float32")


@pytest.mark.parametrize(
    ("device", "how"), [("exit", "exited with status 3"), ("sys.exit", "exited with status 1")]
)
def test_crash_is_told_with_its_last_words(fake, device, how):
    with client.open_framework(fake, timeout=60) as worker:
        with pytest.raises(client.WorkerFailure) as caught:
            worker.supports(device, "float32")
        assert caught.value.kind == "crash" and caught.value.message == f"fake worker {how} during 'supports'"
        assert ("last words" if device == "exit" else "gave up") in caught.value.stderr_tail
        with pytest.raises(client.WorkerFailure) as again:  # a dead worker stays dead, without hanging
            worker.supports("echo", "float32")
        assert again.value.kind == "crash"


def test_kill_while_working_is_a_crash(fake):
    started = threading.Event()
    with client.open_framework(fake, log=lambda text: started.set() if "waiting" in text else None) as worker:
        assert isinstance(worker, client.Worker)

        def kill() -> None:
            started.wait(30)
            os.kill(worker.process.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(client.WorkerFailure, match="was killed by signal 9 during 'supports'") as caught:
            worker.supports("wait", "float32")
        killer.join()
    assert caught.value.kind == "crash"


def test_worker_that_waits_for_a_lock_says_so(fake, tmp_path, monkeypatch):
    """As one whose Jittor waits while another process compiles."""
    monkeypatch.setattr(client, "NOTICE_S", 0.1)
    heard: list[str] = []
    with (tmp_path / "lock").open("w") as file, client.open_framework(fake, log=heard.append) as worker:
        fcntl.lockf(file, fcntl.LOCK_EX)
        release = threading.Timer(1.0, fcntl.lockf, (file, fcntl.LOCK_UN))
        release.start()
        assert worker.supports(f"lock {tmp_path / 'lock'}", "float32") is not None
        release.join()
    assert "".join(heard).count(f"fake waits for process {os.getpid()}, which compiles into the same cache") == 1


def test_a_busy_worker_ends_with_its_caller(fake):
    """Also where it is killed, and another process holds the worker's input open."""
    code = (
        "import os, time; from frameworks.workers import client\n"
        "with client.open_framework('fake') as worker:\n"
        "    print(worker.process.pid, flush=True)\n"
        "    if os.fork() == 0: time.sleep(3); os._exit(0)\n"
        "    worker.supports('busy', 'float32')\n"
    )
    code = f"import frameworks; frameworks.ADAPTERS = {frameworks.ADAPTERS!r}\n{code}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout
        worker = int(caller.stdout.readline())
        caller.kill()
    assert eventually(lambda: ended(worker))


def test_hang_ends_after_the_timeout_with_all_its_children(fake):
    with client.open_framework(fake, timeout=60) as worker:
        assert isinstance(worker, client.Worker)
        worker.timeout = 0.5
        start = time.perf_counter()
        with pytest.raises(client.WorkerFailure, match=r"did not answer 'supports' within 0.5 s") as caught:
            worker.supports("hang", "float32")
        assert caught.value.kind == "timeout"
    assert time.perf_counter() - start < 5, "a child that outlives the worker keeps its pipes open"


def test_errors_of_every_kind_and_the_session_goes_on(fake):
    with client.open_framework(fake, timeout=60) as worker:
        with pytest.raises(UserError, match=r"^not on this machine$"):
            worker.supports("user", "float32")
        with pytest.raises(FloatingPointError, match=r"^loss is nan$"):
            worker.supports("nan", "float32")
        with pytest.raises(client.WorkerFailure, match="RuntimeError: and then it broke") as caught:
            worker.supports("talk", "float32")
        assert caught.value.kind == "exception"
        assert worker.supports("echo", "float32") == "echo"


def test_missing_package_is_a_user_error(fake):
    with pytest.raises(UserError, match="pip install a_package_that_nobody_has"), client.open_framework("needs"):
        pass


def test_a_fresh_worker_follows_a_dead_one(fake):
    for device in ("exit", "hang", "echo"):
        with client.open_framework(fake, timeout=60) as worker:
            assert isinstance(worker, client.Worker)
            worker.timeout = 0.5 if device == "hang" else 60
            if device == "echo":
                assert worker.supports("echo", "float32") == "echo"
            else:
                with pytest.raises(client.WorkerFailure):
                    worker.supports(device, "float32")


def test_close_ends_the_process_and_closes_the_file_of_the_arrays(fake):
    with client.open_framework(fake, timeout=60) as worker:
        assert isinstance(worker, client.Worker)
        process, descriptor = worker.process, worker.exchange.descriptor
        assert process.poll() is None and os.fstat(descriptor).st_nlink == 0, "the file has a name"
    assert process.returncode == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_failure_in_the_session_still_closes_the_worker(fake):
    with pytest.raises(ZeroDivisionError), client.open_framework(fake, timeout=60) as worker:
        assert isinstance(worker, client.Worker)
        process = worker.process
        raise ZeroDivisionError
    assert process.poll() == -signal.SIGTERM, "it need not finish what nobody waits for"
