"""Find the state in a checkpoint and convert it to NumPy arrays."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.untrusted import Budget, reading
from experiments.weight_files.pickle_machine import Global, Unread
from experiments.weight_files.stored_arrays import StoredTensor
from frameworks.arrays import Arrays
from frameworks.errors import UserError
from frameworks.shared.trace_names import below

_PADDLE = "StructuredToParameterName@@"
# Where checkpoints have their state; averages first, as the official evaluation prefers them.
_AVERAGES = ("ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "params_ema")
_TRAINED = ("model", "state_dict", "model_state_dict", "module", "net", "network", "params", "weights")
_LEVELS = 4  # places within places, as in ema.module
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_LONGEST_NAME, _MOST_TENSORS = 500, 5000  # of the largest models some have 1500
_SHOWN = 12  # entries of an unknown checkpoint in its error message


def choose_state(payload: Any, path: Path, *, ema: bool) -> tuple[Mapping[str, Any], str]:
    """Find the state in a checkpoint.

    Args:
        ema: prefer the averaged weights, as the official evaluation does.

    Returns:
        the state and its place, such as "ema.module", "model", "state_dict"; "plain" for the whole checkpoint.

    Raises:
        UserError: the checkpoint is not a dict, has no tensors in a known place, or has only averaged weights and
            ``ema`` is false.
    """
    if not isinstance(payload, Mapping):
        raise UserError(f"{path}: holds a {_kind(payload)}; expected a dict of tensors or a checkpoint")
    state, places = payload, []
    for _ in range(_LEVELS):
        keys = [key for key in (*(_AVERAGES if ema else ()), *_TRAINED) if isinstance(state.get(key), Mapping)]
        if not keys:
            break
        state = state[keys[0]]
        places.append(keys[0])
    if not ema and any(isinstance(state.get(key), Mapping) for key in _AVERAGES):
        raise UserError(f"{path}: holds averaged (EMA) weights alone; leave out --no-ema")
    if _PADDLE not in state and not any(map(_is_array, state.values())):
        held = ", ".join(f"{_name(name)} is a {_kind(value)}" for name, value in list(payload.items())[:_SHOWN])
        raise UserError(
            f"{path}: holds no tensors, neither by name nor under {', '.join(_TRAINED)}: {held or 'it is empty'}; "
            "save the dict of named tensors alone"
        )
    return state, ".".join(places) or "plain"


def to_arrays(state: Mapping[str, Any], path: Path, *, ema: bool = True) -> tuple[Arrays, Counter[str]]:
    """Convert a state to arrays and remove what parallel training, compilation and averaging add to names.

    Half precision (float16, bfloat16) becomes float32, which is exact; every other dtype stays.

    Args:
        path: of the file, whose size limits that of the arrays.
        ema: of two models in one state, take the averaged one.

    Returns:
        the arrays, and the number of tensors of each dtype in the file.

    Raises:
        UserError: an entry is no array, or no array of numbers, or too large; or the file is PaddlePaddle's.
    """
    if _PADDLE in state:
        raise UserError(
            f"{path}: a PaddlePaddle file, whose Linear weights are transposed; "
            "use the official conversion (experiments/weights.py convert official OUT --preset P)"
        )
    if len(state) > _MOST_TENSORS:
        raise UserError(
            f"{path}: holds {len(state):,} entries; expected a model of at most {_MOST_TENSORS:,} tensors"
        )
    arrays: Arrays = {}
    dtypes: Counter[str] = Counter()
    budget = Budget(path)
    for name, value in state.items():
        if not _is_array(value) or not isinstance(name, str) or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise UserError(f"{path}: entry {_name(name)} is a {_kind(value)}; expected named tensors only")
        budget.take(math.prod(value.shape) * max(4, value.itemsize))  # of float32 where it is widened
        array = _array(value, path, name)
        dtypes[str(value.dtype)] += 1
        arrays[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    if not arrays:
        raise UserError(f"{path}: holds no tensors")
    return _unwrapped(arrays, ema=ema), dtypes


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


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | StoredTensor)


def _array(value: Any, path: Path, name: str) -> np.ndarray:
    with reading(path, f"weights, in {name}"):
        array = value.array() if isinstance(value, StoredTensor) else np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{path}: {name} has dtype {array.dtype}; expected numbers")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _unwrapped(arrays: Arrays, *, ema: bool) -> Arrays:
    """Arrays under the names that their model gives them, without those of wrappers around it or its parts."""
    outer = "ema_model." if ema else "online_model."
    if any(name.startswith("ema_model.") for name in arrays) and any(map(_is_online, arrays)):
        arrays = {name.removeprefix(outer): array for name, array in arrays.items() if name.startswith(outer)}
    if any(name.startswith("module.") for name in arrays):  # torch's average counts its updates
        arrays = {name: array for name, array in arrays.items() if name != "n_averaged"}
    named = {without_wrappers(name): array for name, array in arrays.items()}
    return named if len(named) == len(arrays) else arrays


def without_wrappers(name: str) -> str:
    """A name without the parts that DataParallel, torch.compile and the like put into it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _is_online(name: str) -> bool:
    return name.startswith("online_model.")


def _name(name: Any) -> str:
    """A key of a dict, cut and without control characters for an error message."""
    return f"{name!r:.60}" if isinstance(name, str) else f"of a {type(name).__name__}"


def _kind(value: Any) -> str:
    if isinstance(value, Unread | Global):
        return value.kind if isinstance(value, Unread) else value.name
    if _is_array(value):
        return "tensor"
    return f"dict of {len(value)}" if isinstance(value, Mapping) else type(value).__name__
