"""What stands, in the pickles that are read, for the functions that NumPy, torch and Jittor name in theirs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.untrusted import Budget
from experiments.weight_files.pickle_machine import Global, Unfinished, Unread, call
from experiments.weight_files.stored_arrays import (
    DTYPES,
    Buffer,
    Storage,
    StoredTensor,
    array_of_bytes,
    plain_dtype,
)

Table = dict[str, Callable[..., Any] | None]

# Values that checkpoints have beside their tensors (the state of schedulers, for example).
_UNREAD = {
    "torch._utils._rebuild_sparse_tensor": "Tensor in sparse form",
    "torch._utils._rebuild_qtensor": "Tensor in quantised form",
    **{
        name: name.rpartition(".")[2]
        for name in [
            "torch.Size",
            "torch.device",
            "torch.serialization._get_layout",
            "collections.Counter",
            "collections.defaultdict",
            "builtins.set",
            "builtins.frozenset",
            "builtins.complex",
            "builtins.bytearray",
            "__builtin__.set",
            "__builtin__.frozenset",
            "__builtin__.complex",
        ]
    },
}
_NAMES = [
    "numpy.ndarray",
    "builtins.list",
    "builtins.dict",
    "builtins.int",
    "builtins.float",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.per_tensor_affine",
    "torch.per_channel_affine",
    "torch.storage.UntypedStorage",
]
_STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    **{kind: kind for kind in ("QInt8", "QUInt8", "QInt32", "ComplexFloat", "ComplexDouble")},
}
_PAIR = 200  # bytes that an entry of a dict takes at most
STORAGE_DTYPES = {f"torch.{kind}Storage": dtype for kind, dtype in _STORAGES.items()} | {
    "torch.storage.UntypedStorage": "uint8"
}


class _Dtype(Unfinished):
    """A NumPy dtype: a code such as ``f4``, whose byte order comes later. Fields make it no plain one."""

    def __init__(self, code: Any, *_: Any) -> None:
        super().__init__()
        self.code, self.order = code if isinstance(code, str) else "", "="
        self.plain = len(self.code) <= 3

    def finish(self, state: Any) -> "_Dtype":
        self.order = state[1] if isinstance(state[1], str) and len(state[1]) == 1 else ""
        self.plain = self.plain and bool(self.order) and all(field is None for field in state[2:5])
        return self

    def numpy(self) -> np.dtype | None:
        return plain_dtype(self.order + self.code) if self.plain else None


class _Array(Unfinished):
    """A NumPy array without content, which comes later."""

    def finish(self, state: Any) -> Any:
        shape, dtype, fortran, data = state[-4:]
        return _array(data, dtype, shape, fortran=bool(fortran))


def _array(data: Any, dtype: Any, shape: Any, *, fortran: bool = False) -> Any:
    """An array of plain numbers; of anything else, only what it is."""
    plain = dtype.numpy() if isinstance(dtype, _Dtype) else None
    if plain is None:
        objects = isinstance(dtype, _Dtype) and dtype.code in ("O", "O8")
        return Unread(f"array of dtype {'object' if objects else 'that is no number'}")
    if not isinstance(data, Buffer):
        raise ValueError("an array of numbers without their bytes")
    return array_of_bytes(data, plain, shape, fortran=fortran)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    return _array(data, dtype, shape, fortran=isinstance(order, str) and order == "F")


def _scalar(dtype: Any, data: Any = None) -> Any:
    return _array(data, dtype, ())


def _tensor(storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> Any:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    if storage.dtype not in DTYPES:
        return Unread(f"Tensor of {storage.dtype}")
    return StoredTensor(storage, storage.dtype, offset, shape, strides)


def _tensor_of_dtype(
    storage: Any, offset: int, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Any:
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Global) else ""
    if not isinstance(storage, Storage) or name not in DTYPES:
        return Unread(f"Tensor of {name or 'no dtype'}")
    return StoredTensor(storage, name, offset, shape, strides)


def _known() -> Table:
    """The part of the table that is the same for every file."""
    known: Table = {
        "numpy.dtype": _Dtype,
        "jittor.jittor_core.Var": lambda data: data,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        "torch._tensor._rebuild_from_type_v2": lambda function, kind, arguments, state: call(function, arguments),
    }
    for core in ("numpy.core", "numpy._core"):  # until NumPy 1, since NumPy 2
        known |= {
            f"{core}.multiarray._reconstruct": lambda *_: _Array(),
            f"{core}.multiarray.scalar": _scalar,
            f"{core}.numeric._frombuffer": _from_buffer,
        }
    for builtins in ("builtins", "__builtin__"):  # how protocol 2 writes b""
        known[f"{builtins}.bytes"] = lambda: b""
    known |= {name: lambda *_, kind=kind: Unread(kind) for name, kind in _UNREAD.items()}
    names = [*_NAMES, *STORAGE_DTYPES, *(f"torch.{dtype}" for dtype in DTYPES), "torch.strided", "torch.sparse_coo"]
    return known | dict.fromkeys(names)


_KNOWN = _known()


def table(budget: Budget) -> Table:
    """``module.name`` -> the function that stands for it in a pickle, or None where it is a mere name.

    Args:
        budget: of the file; what a function makes anew of its arguments takes from it.
    """

    def latin1(text: str, encoding: str = "") -> bytearray:
        """Bytes in the form of protocol 2; no other codec is known, because some decompress without a limit."""
        if encoding != "latin1":
            raise ValueError("bytes in another encoding than latin1")
        budget.take(len(text))
        return bytearray(text, "latin1")

    def ordered_dict(pairs: Sequence[Any] = ()) -> dict[str, Any]:
        """An OrderedDict; Python 2 gives its entries as pairs. Only text is a key of states."""
        budget.take(_PAIR * len(pairs))
        return {name: value for name, value in pairs if isinstance(name, str)}

    own: Table = {"_codecs.encode": latin1, "collections.OrderedDict": ordered_dict}
    return _KNOWN | own
