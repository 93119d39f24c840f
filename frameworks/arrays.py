"""Named NumPy arrays, the form in which tensors pass between frameworks, and their safetensors files."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from frameworks.errors import UserError

Arrays = dict[str, np.ndarray]


def save_arrays(path: Path, arrays: Arrays, metadata: dict[str, str] | None = None) -> None:
    """Write arrays to a safetensors file, atomically: a reader sees the old file or the whole new one.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, part, metadata)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error}; free some space or choose another folder") from None


def load_arrays(path: Path) -> Arrays:
    """Read every array of a safetensors file.

    Raises:
        UserError: the file is missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path} as safetensors: {error}") from None
