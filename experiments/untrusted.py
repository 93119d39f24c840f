"""Files from strangers: how much memory reading one may take, and how the errors of format libraries are told."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from frameworks.errors import UserError, said

MULTIPLE = 8  # of the file's size: float16 and float8 become float32, .npz files are compressed
ALWAYS = 64 * 2**20  # bytes that any file may take, because a small one may be compressed well


class Budget:
    """The bytes that reading one file may take: ``MULTIPLE`` times its size, or ``ALWAYS`` if that is more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.limit = max(MULTIPLE * path.stat().st_size, ALWAYS)
        self.taken = 0

    def take(self, count: int) -> None:
        """Account for ``count`` bytes, before they are allocated. Raises UserError if the file takes too many."""
        self.taken += count
        if self.taken > self.limit:
            raise UserError(
                f"{self.path}: asks for {self.taken:.3g} bytes of memory or more; at most {MULTIPLE} times the "
                f"file's size ({self.limit:,} bytes) are given to one file, so it is damaged or made to do harm"
            )


@contextlib.contextmanager
def reading(path: Path | str, kind: str, advice: str = "truncated or damaged?") -> Iterator[None]:
    """Turn every exception of the block into one line, a UserError that names ``path``.

    Every one, because format libraries let all kinds of them out of broken files: zlib.error, struct.error,
    TokenError, MemoryError, RecursionError, NotImplementedError ...

    Args:
        kind: what the file should be, such as ``a pickle``.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be read as {kind} ({said(error)}); {advice}") from None
