"""The state in a checkpoint: which of its parts, under which prefix, as NumPy arrays."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frameworks.arrays import Arrays
from frameworks.errors import UserError

ToArray = Callable[[Any], np.ndarray | None]  # None: not an array of this format
_PADDLE = "StructuredToParameterName@@"


def choose_state(payload: Any, path: Path, *, ema: bool) -> tuple[Mapping[str, Any], str]:
    """The state in a checkpoint and its place: "ema.module", "ema", "model", "state_dict" or "plain".

    The averaged weights come first, as the official evaluation takes them; ``ema=False`` passes them over.

    Raises:
        UserError: there is no state, or only averaged weights were left out.
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
    """NumPy arrays without the prefix that parallel training puts before every name, and the dtypes in the file.

    Half precision (float16, bfloat16) becomes float32, which is exact; every other dtype stays.

    Raises:
        UserError: an entry is no array, or no array of numbers.
    """
    if _PADDLE in state:
        raise UserError(
            f"{path}: a PaddlePaddle file, whose Linear weights lie the other way round; "
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


def dtype_name(value: Any) -> str:
    """``float32`` for a NumPy array and for a torch tensor alike."""
    return str(value.dtype).removeprefix("torch.")
