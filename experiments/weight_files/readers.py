"""Read a file of any supported format into named NumPy arrays. The content decides the format, never the suffix."""

import json
import re
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.untrusted import Budget, reading
from experiments.weight_files.payload import choose_state, to_arrays, weights_of_training
from experiments.weight_files.pickles import load_pickle
from experiments.weight_files.stored_arrays import StoredTensor, array_of_bytes, plain_dtype
from experiments.weight_files.torch_files import LEGACY, load_torch
from experiments.weight_files.zip_members import map_file, member_bytes, members
from frameworks.arrays import Arrays
from frameworks.errors import UserError

FORMATS = {"torch": ".pth", "safetensors": ".safetensors", "pickle": ".pkl", "npz": ".npz"}
_SAFETENSORS = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BOOL": "bool",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_LONGEST_HEADER = 10**7  # bytes; a thousand tensors take a hundredth of it
# The header of an .npy file is a Python dict; what NumPy writes for plain arrays has this form.
_NPY = re.compile(
    r"\{\s*'descr':\s*'([^']*)',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([0-9, ]*)\),?\s*\}\s*"
)


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
    if kind == "safetensors":
        arrays, dtypes = to_arrays(_read_safetensors(path), path)
        arrays, form = weights_of_training(arrays, ema=ema)
        return WeightFile(path, kind, form, arrays, dtypes)
    if kind == "npz":
        payload = read_npz(path)
    else:
        payload = (load_torch if kind == "torch" else load_pickle)(path, trust=trust)
    state, form = choose_state(payload, path, ema=ema)
    return WeightFile(path, kind, form, *to_arrays(state, path, ema=ema))


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
    if head.startswith(LEGACY):
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
    with reading(path, "a .pth or .npz file", "without its end, it is truncated; get it again"):
        names = list(members(path))
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise UserError(f"{path}: a zip archive without weights; expected {', '.join(FORMATS.values())}")


def read_npz(path: Path) -> Arrays:
    """The arrays of an .npz file, all of plain numbers. Raises UserError for any other, or too large a one."""
    with reading(path, ".npz"):
        mapped, budget = map_file(path), Budget(path)
        return {
            name.removesuffix(".npy"): _npy(member_bytes(mapped, info, budget))
            for name, info in members(path).items()
        }


def _npy(content: memoryview) -> np.ndarray:
    """The array in an .npy file. Raises ValueError or struct.error if it is none of plain numbers."""
    (length,) = struct.unpack_from("<H" if content[6] == 1 else "<I", content, 8)
    start = (10 if content[6] == 1 else 12) + length
    header = bytes(content[start - length : start]).decode("latin-1")
    found = _NPY.fullmatch(header)
    dtype = plain_dtype(found[1]) if found else None
    if content[:6] != b"\x93NUMPY" or found is None or dtype is None:
        raise ValueError(f"no array of plain numbers: {header!r:.100}")
    shape = tuple(int(size) for size in found[3].split(",") if size.strip())
    return array_of_bytes(content[start:], dtype, shape, fortran=found[2] == "True")


def _read_safetensors(path: Path) -> dict[str, StoredTensor]:
    with reading(path, "safetensors"):
        content = memoryview(map_file(path))
        (length,) = struct.unpack_from("<Q", content)
        data = content[8 + length :]
        if length > min(_LONGEST_HEADER, len(content) - 8):
            raise ValueError(f"a header of {length:,} bytes")
        entries = json.loads(bytes(content[8 : 8 + length]))
        entries.pop("__metadata__", None)
        ends = [0, *(entry["data_offsets"][1] for entry in entries.values())]
        if max(ends) != len(data):
            raise ValueError(f"{max(ends):,} bytes of tensors announced, {len(data):,} there")
        return {name: _safetensor(data, entry) for name, entry in entries.items()}


def _safetensor(data: memoryview, entry: dict[str, Any]) -> StoredTensor:
    if entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"a tensor with {', '.join(map(repr, entry))}; expected dtype, shape and data_offsets")
    start, end = entry["data_offsets"]
    if not 0 <= start <= end:
        raise ValueError(f"a tensor from byte {start} to {end}")
    return StoredTensor.whole(data[start:end], _SAFETENSORS[entry["dtype"]], tuple(entry["shape"]))
