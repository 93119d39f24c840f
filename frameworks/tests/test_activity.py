"""Waiting for a file lock is seen from outside the process that waits."""

import fcntl
import os
import subprocess
import sys

import pytest

from frameworks.tests.waiting import eventually
from frameworks.workers import activity


@pytest.mark.skipif(not activity.LOCKS.exists(), reason="this system has no /proc/locks")
def test_a_process_that_waits_for_a_lock_is_seen(tmp_path):
    path = tmp_path / "lock"
    code = f"import fcntl; file = open({str(path)!r}, 'r+'); fcntl.lockf(file, fcntl.LOCK_EX)"
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # the kind of lock that Jittor's core takes
        waiting = subprocess.Popen([sys.executable, "-c", code])
        assert eventually(lambda: activity.holder_of_awaited_lock(waiting.pid) == os.getpid())
        assert activity.holder_of_awaited_lock(os.getpid()) is None
    assert waiting.wait(timeout=30) == 0
    assert activity.holder_of_awaited_lock(waiting.pid) is None


def test_system_without_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(activity, "LOCKS", tmp_path / "missing")
    assert activity.holder_of_awaited_lock(os.getpid()) is None
