"""The record of the machine, and the environment variables of every timed process."""

import os
from typing import Any

from experiments.runs.host import cores, host_record, package_version

PACKAGES = ("torch", "jittor", "transformers", "onednn-devel-cpu-gomp")


def thread_variables() -> dict[str, str]:
    """Variables of a timed process: equal thread counts, and idle threads that sleep.

    All processes are alive at once; OpenMP threads that spin while they wait would take cores from the process that
    is being timed.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(cores())
    return {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
    }


def environment_record() -> dict[str, Any]:
    """Host, versions and variables as plain values; ``load_before`` is the load of other programs."""
    return {
        "host": host_record(),
        "versions": {name: package_version(name) for name in PACKAGES},
        "variables": thread_variables(),
        "load_before": list(os.getloadavg()),
    }
