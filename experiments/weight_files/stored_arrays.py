"""Arrays from the bytes of a file: plain numbers only, and never more of them than the bytes there hold."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Buffer = bytes | bytearray | memoryview | np.ndarray  # of bytes
_PLAIN = re.compile(r"[<>=|]?(f[248]|[iu][1248]|b1)")
# What NumPy lacks is read as integers and widened to float32, exactly.
_RAW = {"bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}
_MOST_DIMENSIONS = 32  # of NumPy
DTYPES = (
    frozenset(
        [
            "float64",
            "float32",
            "float16",
            "int64",
            "int32",
            "int16",
            "int8",
            "uint64",
            "uint32",
            "uint16",
            "uint8",
            "bool",
        ]
    )
    | _RAW.keys()
)


def plain_dtype(text: Any) -> np.dtype | None:
    """The dtype of numbers or bools that NumPy's short form (``<f4``) names; None for any other."""
    return np.dtype(text) if isinstance(text, str) and _PLAIN.fullmatch(text) else None


def raw_dtype(name: str) -> np.dtype:
    """The dtype in which NumPy reads one of ``DTYPES``. Raises KeyError for another."""
    return np.dtype({dtype: _RAW.get(dtype, dtype) for dtype in DTYPES}[name])


def array_of_bytes(data: Buffer, dtype: np.dtype, shape: Sequence[int], *, fortran: bool = False) -> np.ndarray:
    """A view of ``data`` as an array. Raises ValueError unless it holds exactly that many numbers."""
    count = math.prod(_sizes(shape))
    if count * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes for an array of {count} {dtype}")
    return np.ndarray(tuple(shape), dtype, buffer=data, order="F" if fortran else "C")


@dataclass
class Storage:
    """The memory of one or more tensors: numbers of ``dtype`` in ``data``, which is found last."""

    dtype: str
    data: Buffer | None = None


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as torch stores it: elements of a storage, from ``offset`` on, in steps of ``strides`` elements.

    Raises ValueError for a shape, steps or an offset that are none.
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(_sizes(self.shape)) != len(_sizes(self.strides)) or not _is_size(self.offset):
            raise ValueError("a tensor without a shape, steps or an offset")

    @classmethod
    def whole(cls, data: Buffer, dtype: str, shape: tuple[int, ...]) -> "StoredTensor":
        """All of ``data``, row by row. Raises ValueError unless it holds exactly that many numbers."""
        strides, step = [], 1
        for size in reversed(_sizes(shape)):
            strides.append(step)
            step *= size
        found = cls(Storage(dtype, data), dtype, 0, shape, tuple(reversed(strides)))
        if step * found.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes for a tensor of {step} {dtype}")
        return found

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return raw_dtype(self.dtype).itemsize

    def array(self) -> np.ndarray:
        """A view of the storage; a copy in float32 where NumPy lacks the dtype.

        Raises ValueError if the elements are not all in the storage.
        """
        sizes = self.shape
        last = sum((size - 1) * step for size, step in zip(sizes, self.strides, strict=True))
        data = b"" if self.storage.data is None else self.storage.data
        raw, count = raw_dtype(self.dtype), math.prod(sizes)
        if not count:
            return _widened(np.empty(sizes, raw), self.dtype)
        if not self.offset + last < len(data) // raw.itemsize:  # NumPy's check can overflow
            raise ValueError(f"a tensor of {count} numbers is not inside its storage of {len(data)} bytes")
        steps = [step * raw.itemsize for step in self.strides]
        return _widened(np.ndarray(sizes, raw, data, self.offset * raw.itemsize, steps), self.dtype)


def _sizes(values: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > _MOST_DIMENSIONS or not all(map(_is_size, values)):
        raise ValueError("a shape that is no tuple of sizes")
    return values


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _widened(raw: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    if dtype == "float8_e5m2":
        return (raw.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    if dtype == "float8_e4m3fn":
        return _float8_values()[raw]
    return raw


def _float8_values() -> np.ndarray:
    """The number that each of the 256 bytes is: a sign, 4 bits of exponent, 3 of mantissa; no infinity."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, (byte & 7) / 8
    size = np.where(exponent == 0, mantissa * 2.0**-6, (1 + mantissa) * 2.0 ** (exponent - 7))
    size[byte & 127 == 127] = np.nan
    return np.where(byte & 128, -size, size).astype(np.float32)
