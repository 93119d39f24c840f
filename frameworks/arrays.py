"""Named NumPy arrays, the form in which tensors pass between frameworks, and their safetensors files."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from frameworks.errors import UserError
from frameworks.files import remove, require_file

Arrays = dict[str, np.ndarray]


def save_arrays(path: Path, arrays: Arrays, metadata: dict[str, str] | None = None) -> None:
    """Write arrays to a safetensors file, atomically: a reader sees the old file or the whole new one.

    Equal arrays and metadata give equal bytes.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    scratch = path.with_name(path.name + ".part")
    try:
        remove(scratch)  # what a killed process left
        scratch.mkdir()  # safetensors writes under a random name beside the file, which a kill would leave
        part = scratch / path.name
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, part, metadata)
        if metadata:
            _sort_metadata(part)
        part.chmod(scratch.stat().st_mode & 0o666)  # by the umask; safetensors gives its files other rights
        part.replace(path)
        scratch.rmdir()
    except (OSError, SafetensorError) as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise UserError(f"cannot write {path}: {error}; free some space or choose another folder") from None


def _sort_metadata(path: Path) -> None:
    """Put the metadata in the order of their names, because safetensors writes them in a random one."""
    with path.open("r+b") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # the same letters in another order; the format allows spaces at the end
            stream.seek(8)
            stream.write(text.ljust(size))


def load_arrays(path: Path) -> Arrays:
    """Read every array of a safetensors file.

    Raises:
        UserError: the file is missing, truncated or not safetensors.
    """
    require_file(path)
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path} as safetensors: {error}") from None
