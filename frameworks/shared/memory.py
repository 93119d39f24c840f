"""Peak memory of this process, measured in the same way for every framework."""

import resource
from pathlib import Path


def peak_resident_mb() -> float:
    """Largest resident size of this process so far, in MB.

    It comes from /proc where that exists: ``ru_maxrss`` of a new process starts at its parent's value, which may be
    larger than all that the process itself ever uses.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
