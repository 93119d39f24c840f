"""How many kernels Jittor compiled in this process, and how long that took, from the files that it left.

Each kernel is a shared library in the cache, beside its source, which Jittor writes right before it compiles. What
this process has loaded stands in /proc; without /proc nothing is counted.
"""

import time
from collections.abc import Iterable
from pathlib import Path

MAPS = Path("/proc/self/maps")


class CompiledKernels:
    """Counts kernels that were compiled since it was made and that this process uses."""

    def __init__(self, folder: Path) -> None:
        """Count in ``folder``, where Jittor keeps the kernels: "jit" in its cache."""
        self.folder = folder
        self.known: set[Path] = set()
        self.since = time.time()  # of the last count
        self.changed = self._changed()

    def count_new(self) -> tuple[int, float]:
        """Number of kernels compiled since the last call, and the seconds in which at least one was compiling."""
        changed = self._changed()
        if changed == self.changed or not MAPS.exists():
            return 0, 0.0  # the usual case takes microseconds
        self.changed, since, self.since = changed, self.since, time.time()
        intervals = []
        for path in self._loaded() - self.known:
            self.known.add(path)
            end = path.stat().st_mtime
            if end > since:
                intervals.append((max(_written(path), since), end))
        return len(intervals), covered(intervals)

    def _changed(self) -> int:
        return self.folder.stat().st_mtime_ns if self.folder.exists() else 0

    def _loaded(self) -> set[Path]:
        """Paths of the kernels that are mapped into this process and still exist."""
        paths = {Path(line.split(maxsplit=5)[-1]) for line in MAPS.read_text().splitlines() if ".so" in line}
        return {path for path in paths if path.parent == self.folder and path.exists()}


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals (begin, end): compilers run side by side."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def _written(path: Path) -> float:
    """When the source beside a library was written; 0 where there is none."""
    source = path.with_suffix(".cc")
    return source.stat().st_mtime if source.exists() else 0.0
