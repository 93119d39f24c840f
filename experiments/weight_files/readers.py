"""Read a file of any supported format into named NumPy arrays. The content decides the format, never the suffix."""

import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from experiments.weight_files.payload import choose_state, to_arrays, weights_of_training
from experiments.weight_files.pickles import load_pickle
from frameworks.arrays import Arrays
from frameworks.errors import UserError

FORMATS = {"torch": ".pth", "safetensors": ".safetensors", "pickle": ".pkl", "npz": ".npz"}
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6 starts with this number
_WIDENED = ("BF16", "F8_E4M3", "F8_E5M2")  # dtypes that NumPy lacks


@dataclass(frozen=True)
class WeightFile:
    """The arrays of a file. ``form`` is their place in a checkpoint; ``dtypes`` counts tensors by dtype."""

    path: Path
    format: str
    form: str
    arrays: Arrays
    dtypes: Counter[str]


def read_weights(path: Path, *, trust: bool = False, ema: bool = True) -> WeightFile:
    """Read a file of weights; tensors of .pth and .safetensors stay on the disk until they are used.

    Args:
        trust: let a pickle run any code that it contains; otherwise one that needs more than arrays is refused.
        ema: prefer the averaged weights.

    Raises:
        UserError: no such file, a folder, damaged, of another kind, or a pickle that was refused.
    """
    kind = file_format(path)
    if kind == "torch":
        # here, because importing torch takes seconds and three formats do without it
        from experiments.weight_files.torch_files import load_torch, tensor_array

        state, form = choose_state(load_torch(path, trust=trust), path, ema=ema)
        return WeightFile(path, kind, form, *to_arrays(state, path, tensor_array))
    if kind == "safetensors":
        arrays, dtypes = _read_safetensors(path)
        arrays, form = weights_of_training(arrays, ema=ema)
        return WeightFile(path, kind, form, arrays, dtypes)
    payload = load_pickle(path, trust=trust) if kind == "pickle" else _read_npz(path)
    state, form = choose_state(payload, path, ema=ema)
    return WeightFile(path, kind, form, *to_arrays(state, path, _numpy_array))


def file_format(path: Path) -> str:
    """Find the format of a file, a key of FORMATS, from its first bytes.

    Raises:
        UserError: no such file, a folder, or an unknown format.
    """
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give a file, such as {path / 'model.safetensors'}")
        if not path.exists():
            raise UserError(f"no such file: {path}")
        if not path.is_file():
            raise UserError(f"{path}: is not a regular file")
        with path.open("rb") as stream:
            head = stream.read(32)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path)
    if head.startswith(_LEGACY_TORCH):
        return "torch"
    if len(head) > 9 and head[8:9] == b"{":  # the length of the header in 8 bytes, then the header, which is JSON
        return "safetensors"
    if head.startswith(b"\x80"):
        return "pickle"
    what = (
        "is empty"
        if not head
        else "is HDF5 (Keras)"
        if head.startswith(b"\x89HDF")
        else f"starts with {head[:8]!r}"
    )
    raise UserError(f"{path}: {what}; expected weights as {', '.join(FORMATS.values())}")


def _zip_format(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        raise UserError(f"{path}: a .pth or .npz file without its end; it is truncated, get it again") from None
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise UserError(f"{path}: a zip archive without weights; expected {', '.join(FORMATS.values())}")


def _read_npz(path: Path) -> Mapping[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as .npz ({' '.join(str(error).split())})") from None


def _read_safetensors(path: Path) -> tuple[Arrays, Counter[str]]:
    try:
        with safe_open(path, framework="np") as opened:
            widened = any(opened.get_slice(name).get_dtype() in _WIDENED for name in opened.keys())  # noqa: SIM118
            if not widened:
                return to_arrays({name: opened.get_tensor(name) for name in opened.keys()}, path, _numpy_array)  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error}); truncated or damaged?") from None
    # here, as above: torch knows the dtypes that NumPy does not
    from experiments.weight_files.torch_files import load_safetensors, tensor_array

    return to_arrays(load_safetensors(path), path, tensor_array)


def _numpy_array(value: Any) -> np.ndarray | None:
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else None
