"""Memory of this process: its peak, measured in the same way for every framework, and how it is allocated."""

import ctypes
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


def keep_freed_memory() -> None:
    """Tell the C library to keep large blocks that are freed, for the next step's tensors of the same sizes.

    glibc returns them to the system otherwise, which clears their pages again in each step. Another C library stays
    as it is.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of glibc's parameters in malloc.h
    if set_parameter := getattr(ctypes.CDLL(None), "mallopt", None):
        set_parameter(trim_threshold, 2**31 - 1)
        set_parameter(mmap_threshold, 2**30)
