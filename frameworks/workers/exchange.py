"""Arrays on their way between two processes, in a file without a name that both map into memory.

The file lies in memory where the system offers that, else in the temporary folder. The worker inherits its
descriptor, so nothing is left behind however the processes end, and the size of /dev/shm does not matter. One
process writes while the other waits: requests and answers share the file.
"""

import mmap
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from frameworks.arrays import Arrays
from frameworks.errors import UserError

# A larger file is given back once it has been read: batches reuse their pages, a checkpoint's would only lie there.
KEPT_BYTES = 2**27
ALIGNMENT = 64  # bytes, a cache line

Places = dict[str, dict[str, tuple[str, list[int], int]]]  # group -> name -> dtype, shape, offset: plain JSON


class Exchange:
    """The file of one pair of processes; ``kind`` says for the records where it lies, and why."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Make the file, or take over the ``descriptor`` that this process inherited."""
        self.kind = "inherited"
        if descriptor is None:
            descriptor, self.kind = _create()
        os.set_inheritable(descriptor, False)  # compilers that this process starts must not hold the file
        self.descriptor = descriptor
        self.memory: mmap.mmap | None = None

    def write(self, groups: Mapping[str, Arrays]) -> Places:
        """Store groups of arrays in place of the last ones. Returns what ``read`` needs.

        Raises:
            UserError: memory or disk is full.
            ValueError: an array of Python objects.
        """
        places, size = _places(groups)
        memory = self._mapped(size)
        for group, arrays in groups.items():
            for name, array in arrays.items():
                _view(memory, *places[group][name])[...] = array
        self._release(size)
        return places

    def read(self, places: Mapping[str, Mapping[str, Any]]) -> dict[str, Arrays]:
        """Copies of the arrays that the other process stored: they stay as they are when it writes again."""
        size = max((_end(*place) for entries in places.values() for place in entries.values()), default=0)
        memory = self._mapped(size)
        found = {
            group: {name: _view(memory, *place).copy() for name, place in entries.items()}
            for group, entries in places.items()
        }
        if self._release(size):
            os.ftruncate(self.descriptor, 0)
        return found

    def close(self) -> None:
        """Close the file; it vanishes when the other process closes it too. A second call does nothing."""
        self.memory = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _mapped(self, size: int) -> mmap.mmap | bytes:
        """The first ``size`` bytes of the file, which grows to that."""
        if size == 0:
            return b""
        try:
            if os.fstat(self.descriptor).st_size < size:
                # Not ftruncate: where the space does not exist, the process would be killed while it writes.
                os.posix_fallocate(self.descriptor, 0, size)
            if self.memory is None or len(self.memory) < size:
                self.memory = mmap.mmap(self.descriptor, size)
        except OSError as error:
            needed = f"{size / 2**20:.0f} MB"
            raise UserError(
                f"cannot pass {needed} to another process ({error.strerror}); free some space"
            ) from None
        return self.memory

    def _release(self, size: int) -> bool:
        """Whether ``size`` is large; then this process no longer maps the file."""
        if size <= KEPT_BYTES:
            return False
        self.memory = None
        return True


def _create() -> tuple[int, str]:
    """Descriptor of a new file without a name, and where it lies."""
    try:
        return os.memfd_create("twin-detr"), "memory"
    except (AttributeError, OSError) as error:  # another system than Linux, or forbidden in this container
        with tempfile.TemporaryFile() as stream:
            return os.dup(stream.fileno()), f"temporary file ({error})"


def _places(groups: Mapping[str, Arrays]) -> tuple[Places, int]:
    """A place for every array, one after the other, and the size of all."""
    places: Places = {group: {} for group in groups}
    end = 0
    for group, arrays in groups.items():
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise ValueError(f"{name}: an array of dtype {array.dtype} cannot go to another process")
            places[group][name] = place = (array.dtype.str, list(array.shape), -(-end // ALIGNMENT) * ALIGNMENT)
            end = _end(*place)
    return places, end


def _end(dtype: str, shape: list[int], offset: int) -> int:
    return offset + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _view(memory: mmap.mmap | bytes, dtype: str, shape: list[int], offset: int) -> np.ndarray:
    """The array at a place. An array without elements has no memory to view."""
    return np.ndarray(shape, dtype, memory, offset) if 0 not in shape else np.empty(shape, dtype)
