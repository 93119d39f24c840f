"""Peak memory of this process, the same way for every framework."""

import resource
from pathlib import Path


def peak_resident_mb() -> float:
    """Largest resident size so far in MB.

    From /proc where it exists: ``ru_maxrss`` of a new process starts at its parent's, so a small worker of a
    large session would be charged for the session.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
