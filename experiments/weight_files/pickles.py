"""Read pickles of arrays (``jt.save`` and plain dicts) without running any code in them, and write Jittor's.

A pickle is a program. This reader allows only the few functions that rebuild NumPy arrays and refuses every other
one, before it is called.
"""

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.core.multiarray import _reconstruct, scalar  # pyright: ignore[reportAttributeAccessIssue]
from numpy.core.numeric import _frombuffer  # pyright: ignore[reportAttributeAccessIssue]

from frameworks.arrays import Arrays
from frameworks.errors import UserError

JITTOR_END = b"HCAJSLHD"  # jt.save: the pickle, its SHA-1 (20 bytes), this
_SHA1_BYTES = 20


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes in the form of protocol 2; no other codec is allowed, because some decompress without a limit."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _jittor_variable(data: np.ndarray) -> np.ndarray:
    """Stands in for ``jt.Var``, which pickles as a call of its class on a NumPy array."""
    return data


_HARMLESS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,  # NumPy 2
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
    ("jittor", "jittor_core.Var"): _jittor_variable,
}


class _ForbiddenGlobal(Exception):
    """A pickle refers to a global that is not allowed; the message is its name."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise _ForbiddenGlobal(f"{module}.{name}")
        return _HARMLESS[module, name]


class _TrustingUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        if module.partition(".")[0] == "jittor":  # importing it here would compile for minutes
            raise _ForbiddenGlobal(f"{module}.{name}")
        return super().find_class(module, name)


def refusal(path: Path, name: str) -> UserError:
    """The error for a pickle that refers to the forbidden global ``name``, the same for every format."""
    return UserError(
        f"{path}: refused, because opening it would run {name}; if you trust where it comes from, convert it with "
        "experiments/weights.py convert --trust"
    )


def load_pickle(path: Path, *, trust: bool = False) -> Any:
    """Load the object in a pickle.

    Args:
        trust: allow every global except Jittor's.

    Raises:
        UserError: it refers to a forbidden global (named), its checksum is wrong, or it is no whole pickle.
    """
    unpickler = _TrustingUnpickler if trust else _ArrayUnpickler
    try:
        with path.open("rb") as stream:
            _verify_checksum(path, stream)
            return unpickler(stream).load()
    except _ForbiddenGlobal as error:
        raise refusal(path, str(error)) from None
    except UserError:
        raise
    except Exception as error:  # a broken pickle, or trusted code, can raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a pickle ({reason}); truncated or damaged?") from None


def save_pickle(path: Path, arrays: Arrays) -> None:
    """Write a file for ``jt.load`` and ``Module.load``, array by array. Raises OSError."""
    with path.open("wb") as stream:
        digesting = _DigestingWriter(stream)
        pickler = pickle.Pickler(digesting, 4)
        pickler.fast = True  # without its memo, which would keep a copy of every array until the end
        pickler.dump({name: np.asarray(array, order="C") for name, array in arrays.items()})
        stream.write(digesting.sha1.digest() + JITTOR_END)


class _DigestingWriter:
    """Hashes what is written through it, so that no second copy of the weights is needed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.sha1 = stream, hashlib.sha1(usedforsecurity=False)

    def write(self, data: Any) -> int:
        self.sha1.update(data)
        return self.stream.write(data)


def _verify_checksum(path: Path, stream: IO[bytes]) -> None:
    """Check Jittor's own checksum, where the file has one; leaves the stream at its start."""
    size = path.stat().st_size
    tail = _SHA1_BYTES + len(JITTOR_END)
    stream.seek(max(0, size - tail))
    digest, end = stream.read(_SHA1_BYTES), stream.read()
    stream.seek(0)
    if end != JITTOR_END:
        return
    sha1, left = hashlib.sha1(usedforsecurity=False), size - tail
    while left:
        block = stream.read(min(left, 1 << 20))
        sha1.update(block)
        left -= len(block)
    stream.seek(0)
    if sha1.digest() != digest:
        raise UserError(f"{path}: its checksum is wrong, so it was damaged; get it again")
