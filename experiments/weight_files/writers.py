"""Write canonical arrays to a file of any format, whole or not at all."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from experiments.weight_files.computed_entries import computed_constants
from experiments.weight_files.names import huggingface_state
from experiments.weight_files.pickles import save_pickle
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.files import replacing

SUFFIXES = {".pth": "pth", ".pt": "pth", ".safetensors": "safetensors", ".pkl": "pkl"}
TARGETS = ("pth", "safetensors", "pkl", "hf")


def target_format(path: Path, asked: str | None, *, force: bool) -> str:
    """The format to write: ``asked``, or that of the suffix. Commands call it before they read anything.

    Raises:
        UserError: an unknown suffix, a missing folder, or an existing file without ``force``.
    """
    if asked is None and path.suffix not in SUFFIXES and not path.is_dir():
        export = "; for ONNX: weights.py export" if path.suffix == ".onnx" else ""
        raise UserError(f"{path}: name it {', '.join(SUFFIXES)} or say --to {'|'.join(TARGETS)}{export}")
    require_new(path, force=force)
    return asked or SUFFIXES[path.suffix]


def require_new(path: Path, *, force: bool) -> None:
    """Raise UserError for a folder, a name in a missing folder, or an existing file without ``force``."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError(f"{path}: {'is a folder' if path.is_dir() else 'there is no such folder'}; name a file")
    if path.exists() and not force:
        raise UserError(f"{path}: exists; name another file or say --force")


def write_weights(path: Path, weights: Arrays, spec: ExperimentSpec, target: str, *, complete: bool = True) -> None:
    """Write canonical weights and the computed entries among them.

    Args:
        complete: it is a whole model; the official form of RT-DETRv2 then gets the computed entries that it lacks.

    Raises:
        UserError: Hugging Face cannot represent this model, or the file cannot be written.
    """
    if target == "hf":
        weights = huggingface_state(weights, spec.model)
    elif target == "pth" and complete:
        computed = computed_constants(spec.model, spec.data.image_size)
        weights = weights | {name: computed[name] for name in computed if name not in weights}
    try:
        with replacing(path) as part:
            _write(part, weights, target)
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch, on a full disk
        raise UserError(f"cannot write {path}: {error}; free some space or choose another folder") from None


def _write(path: Path, weights: Arrays, target: str) -> None:
    if target == "pth":
        # here, because importing torch takes seconds and the other formats do without it
        from experiments.weight_files.torch_files import save_torch

        save_torch(path, weights)
    elif target == "pkl":
        save_pickle(path, weights)
    else:  # transformers requires the metadata
        whole = {name: np.asarray(array, order="C") for name, array in weights.items()}
        save_file(whole, path, {"format": "pt"} if target == "hf" else None)
