"""Waiting in tests for what another process does."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` becomes true within 20 seconds."""
    return any(condition() or time.sleep(0.1) for _ in range(200))
