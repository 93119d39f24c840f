"""Read and write the files for which torch is needed: .pth, and dtypes that NumPy lacks."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from experiments.weight_files.pickles import refusal
from frameworks.arrays import Arrays
from frameworks.errors import UserError

_HALF = (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)


def load_torch(path: Path, *, trust: bool = False) -> Any:
    """Load the object in a .pth file, its tensors mapped from the disk.

    Raises:
        UserError: it refers to more than tensors (named) and ``trust`` is false, or it is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL:? ([\w.]+)", str(error))
        if trust or wanted is None:
            raise _damaged(path, error) from None
        raise refusal(path, wanted[1]) from None
    except Exception as error:  # torch reports damage as RuntimeError, EOFError, KeyError, OSError ...
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return UserError(f"{path}: cannot be read as a .pth file ({reason}); truncated or damaged?")


def load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, whose dtypes NumPy may lack."""
    return load_file(path)


def tensor_array(value: Any) -> np.ndarray | None:
    """A view of a tensor's memory; a copy only where the dtype is widened to float32. None: not a tensor."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
        return None
    tensor = value.detach()
    return (tensor.float() if tensor.dtype in _HALF else tensor).numpy()


def save_torch(path: Path, arrays: Arrays) -> None:
    """Write an official checkpoint: the same tensors as ``model`` and as ``ema.module``, stored once.

    Both, because the official evaluation reads the average and a resumed training the model. Raises OSError, or
    RuntimeError where the disk is full.
    """
    state = {name: _tensor(array) for name, array in arrays.items()}
    torch.save({"model": state, "ema": {"module": state}}, path)


def _tensor(array: np.ndarray) -> torch.Tensor:
    whole = np.asarray(array, order="C")
    return torch.from_numpy(whole if whole.flags.writeable else whole.copy())  # torch warns of read-only memory
