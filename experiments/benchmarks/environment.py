"""The record of the machine, and the environment variables of every timed process."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from experiments.runs.host import cores, host_record, package_version

PACKAGES = ("torch", "jittor", "transformers", "onednn-devel-cpu-gomp")


@contextlib.contextmanager
def worker_variables() -> Iterator[dict[str, str]]:
    """Set the thread variables while workers are started: equal thread counts, and idle threads that sleep.

    All processes are alive at once; OpenMP threads that spin while they wait would take cores from the process that
    is being timed.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(cores())
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
    """Host, versions and variables as plain values; ``load_before`` is the load of other programs."""
    return {
        "host": host_record(),
        "versions": {name: package_version(name) for name in PACKAGES},
        "variables": variables,
        "load_before": list(os.getloadavg()),
    }
