"""The record of the machine, and the environment variables of every timed process."""

import os
from typing import Any

from experiments.runs.host import host_record, package_version
from frameworks.threads import thread_count

PACKAGES = ("torch", "jittor", "transformers", "onednn-devel-cpu-gomp")


def thread_variables() -> dict[str, str]:
    """Variables of a timed process: equal thread counts, and idle threads that sleep.

    All processes are alive at once; OpenMP threads that spin while they wait would take cores from the process that
    is being timed.
    """
    count = str(thread_count())
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
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
