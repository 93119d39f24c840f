"""Waiting in tests for what another process does."""

import time
from collections.abc import Callable
from pathlib import Path


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` becomes true within 20 seconds."""
    return any(condition() or time.sleep(0.1) for _ in range(200))


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits for its parent only."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return True
