"""How many threads a framework computes with: the same number for each."""

import os
from collections.abc import Mapping

MOST = 4096  # a larger number is no count of threads


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(variables: Mapping[str, str] = os.environ) -> int:
    """The first number of ``OMP_NUM_THREADS``, which OpenMP allows to be a list such as "4,1".

    It is that of cores where the variable is missing or no such number: empty, 0, "all".
    """
    first = variables.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    number = int(first) if first.isascii() and first.isdecimal() and len(first) <= len(str(MOST)) else 0
    return number if 0 < number <= MOST else cores()
