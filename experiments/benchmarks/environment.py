"""The machine, and the variables that every timed process gets."""

import contextlib
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from experiments.runs.host import host_record

PACKAGES = ("torch", "jittor", "transformers", "onednn-devel-cpu-gomp")


@contextlib.contextmanager
def worker_variables() -> Iterator[dict[str, str]]:
    """Set for as long as workers are started: as many threads for each, and idle ones must sleep.

    All processes live at once. OpenMP threads that spin while they wait would take the cores from whoever is
    being timed.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(_cores())
    variables = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield variables
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def environment_record(variables: dict[str, str]) -> dict[str, Any]:
    """Host, versions and variables as plain values; ``load_before`` is other people's work."""
    return {
        "host": host_record(),
        "versions": {name: _version(name) for name in PACKAGES},
        "variables": variables,
        "load_before": list(os.getloadavg()),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
