"""Read pickles of arrays (``jt.save`` and plain dicts) without running any code in them, and write Jittor's."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from experiments.untrusted import Budget, reading
from experiments.weight_files.pickle_machine import ForbiddenGlobal, PickleMachine
from experiments.weight_files.pickled_values import table
from experiments.weight_files.zip_members import map_file
from frameworks.arrays import Arrays
from frameworks.errors import UserError

JITTOR_END = b"HCAJSLHD"  # jt.save: the pickle, its SHA-1 (20 bytes), this
_SHA1_BYTES = 20


class NotImportable(Exception):
    """A trusted pickle needs a class that is not here; the message says which one and what to do."""


class TrustingUnpickler(pickle.Unpickler):
    """Python's own unpickler, which runs whatever a pickle says."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function; for Jittor's arrays NumPy's. Raises NotImportable if there is none."""
        if module.partition(".")[0] == "jittor":  # importing it here would compile for minutes
            if name == "jittor_core.Var":
                return np.asarray
            raise NotImportable(f"needs {module}.{name} of Jittor; save the model's state_dict() instead")
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError) as error:
            raise NotImportable(
                f"needs the class {module}.{name}, which is not importable here ({error}); put the folder of its "
                "code on PYTHONPATH, or save the model's state_dict() instead"
            ) from None


def refusal(path: Path, name: str) -> UserError:
    """The error for a pickle that refers to the forbidden global ``name``, the same for every format."""
    return UserError(
        f"{path}: refused, because opening it would run {name:.200}; if you trust where it comes from, convert it "
        "with experiments/weights.py convert --trust"
    )


def load_pickle(path: Path, *, trust: bool = False) -> Any:
    """Load the object in a pickle.

    Args:
        trust: let it run any code, but for Jittor's; otherwise none runs.

    Raises:
        UserError: it refers to a forbidden global (named), its checksum is wrong, or it is no whole pickle.
    """
    with reading(path, "a pickle"):
        with path.open("rb") as stream:
            _verify_checksum(path, stream)
            if trust:
                return trusted(path, TrustingUnpickler(stream).load)
        try:
            return PickleMachine(map_file(path), table(Budget(path))).load()
        except ForbiddenGlobal as error:
            raise refusal(path, str(error)) from None


def trusted(path: Path, load: Callable[[], Any]) -> Any:
    """The result of ``load``. Raises UserError where a class of the file is not here."""
    try:
        return load()
    except NotImportable as error:
        raise UserError(f"{path}: {error}") from None


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
