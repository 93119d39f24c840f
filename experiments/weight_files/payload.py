"""Find the state in a checkpoint and convert it to NumPy arrays."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frameworks.arrays import Arrays
from frameworks.errors import UserError
from frameworks.shared.trace_names import below

ToArray = Callable[[Any], np.ndarray | None]
_PADDLE = "StructuredToParameterName@@"


def choose_state(payload: Any, path: Path, *, ema: bool) -> tuple[Mapping[str, Any], str]:
    """Find the state in a checkpoint.

    Args:
        ema: prefer the averaged weights, as the official evaluation does.

    Returns:
        the state and its place: "ema.module", "ema", "model", "state_dict" or "plain".

    Raises:
        UserError: the checkpoint is not a dict, or has only averaged weights and ``ema`` is false.
    """
    if not isinstance(payload, Mapping):
        raise UserError(f"{path}: holds a {type(payload).__name__}; expected a dict of tensors or a checkpoint")
    averaged = payload.get("ema")
    if ema and isinstance(averaged, Mapping):
        nested = averaged.get("module")
        return (nested, "ema.module") if isinstance(nested, Mapping) else (averaged, "ema")
    for key in ("model", "state_dict"):
        if isinstance(payload.get(key), Mapping):
            return payload[key], key
    if isinstance(averaged, Mapping):
        raise UserError(f"{path}: holds averaged (EMA) weights alone; leave out --no-ema")
    return payload, "plain"


def to_arrays(state: Mapping[str, Any], path: Path, to_array: ToArray) -> tuple[Arrays, Counter[str]]:
    """Convert a state to arrays and remove the prefix ``module.`` of parallel training.

    Half precision (float16, bfloat16) becomes float32, which is exact; every other dtype stays.

    Args:
        path: named in error messages.
        to_array: makes an array of one entry; None for an entry that is no array.

    Returns:
        the arrays, and the number of tensors of each dtype in the file.

    Raises:
        UserError: an entry is no array, or no array of numbers; or the file is PaddlePaddle's.
    """
    if _PADDLE in state:
        raise UserError(
            f"{path}: a PaddlePaddle file, whose Linear weights are transposed; "
            "use the official conversion (experiments/weights.py convert official OUT --preset P)"
        )
    arrays: Arrays = {}
    dtypes: Counter[str] = Counter()
    for name, value in state.items():
        array = to_array(value)
        if array is None or not isinstance(name, str):
            raise UserError(f"{path}: entry {name!r} is a {type(value).__name__}; expected named tensors only")
        if array.dtype.kind not in "fiub":
            raise UserError(f"{path}: {name} has dtype {array.dtype}; expected numbers")
        dtypes[dtype_name(value)] += 1
        arrays[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    if not arrays:
        raise UserError(f"{path}: holds no tensors")
    if all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    return arrays, dtypes


def weights_of_training(arrays: Arrays, *, ema: bool) -> tuple[Arrays, str]:
    """Find the weights in a checkpoint of this project; arrays with other names stay as they are.

    Args:
        ema: prefer the averaged weights; counters, which have no average, are those of the training.

    Returns:
        the weights and their place: "ema", "parameter" or "plain".
    """
    weights = below("parameter", arrays)
    if not weights:
        return arrays, "plain"
    average = below("ema", arrays) if ema else {}
    return weights | average, "ema" if average else "parameter"


def dtype_name(value: Any) -> str:
    """Name of the dtype, such as ``float32``, for a NumPy array or a torch tensor."""
    return str(value.dtype).removeprefix("torch.")
