"""Read torch's files, whose pickles are read as data and whose tensors stay on the disk until used; write them."""

import mmap
import struct
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.untrusted import Budget, reading
from experiments.weight_files.pickle_machine import ForbiddenGlobal, Global, PickleMachine, Unread
from experiments.weight_files.pickled_values import STORAGE_DTYPES, table
from experiments.weight_files.pickles import TrustingUnpickler, refusal, trusted
from experiments.weight_files.stored_arrays import DTYPES, Storage, StoredTensor, raw_dtype
from experiments.weight_files.zip_members import map_file, member_bytes, members
from frameworks.arrays import Arrays

# torch.save before 1.6 starts with this number
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def load_torch(path: Path, *, trust: bool = False) -> Any:
    """Load the object in a .pth file: dicts, lists, numbers and text, and ``StoredTensor`` for tensors.

    Args:
        trust: let it run any code; modules then become their states. Otherwise none runs.

    Raises:
        UserError: it refers to more than tensors (named) and ``trust`` is false, or it is damaged.
    """
    with reading(path, "a .pth file"):
        if trust:
            return trusted(path, lambda: _load_trusted(path))
        try:
            mapped = map_file(path)
            return _load_legacy(path, mapped) if mapped[: len(LEGACY)] == LEGACY else _load_zip(path, mapped)
        except ForbiddenGlobal as error:
            raise refusal(path, str(error)) from None


def _load_zip(path: Path, mapped: mmap.mmap) -> Any:
    """Read an archive: ``PREFIX/data.pkl``, and ``PREFIX/data/KEY`` with the numbers of each storage."""
    found, budget = members(path), Budget(path)
    program = next(name for name in found if name.endswith("data.pkl"))
    prefix = program.removesuffix("data.pkl")
    order = found.get(f"{prefix}byteorder")
    if order and bytes(member_bytes(mapped, order, budget)) != b"little":
        raise ValueError("its numbers are not in the byte order of this machine")
    storages: dict[tuple[str, str], Storage] = {}

    def storage(identity: Any) -> Storage:
        key, dtype = _storage(identity)
        if (key, dtype) not in storages:
            content = member_bytes(mapped, found[f"{prefix}data/{key}"], budget, checked=False)
            storages[key, dtype] = Storage(dtype, content)
        return storages[key, dtype]

    content = member_bytes(mapped, found[program], budget, checked=False)
    stream = mmap.mmap(-1, max(1, len(content)))
    stream[: len(content)] = content
    return PickleMachine(stream, table(budget), storage).load()


def _load_legacy(path: Path, mapped: mmap.mmap) -> Any:
    """Read the form of torch.save before 1.6: five pickles, then the numbers of each storage behind their count."""
    storages: dict[str, Storage] = {}

    def storage(identity: Any) -> Storage:
        key, dtype = _storage(identity)
        return storages.setdefault(key, Storage(dtype))

    machine = PickleMachine(mapped, table(Budget(path)), storage)
    _, _, system, payload, keys = (machine.load() for _ in range(5))
    if not system["little_endian"]:
        raise ValueError("its numbers are not in the byte order of this machine")
    start = mapped.tell()
    for key in keys:
        (count,) = struct.unpack_from("<q", mapped, start)
        end = start + 8 + count * raw_dtype(storages[key].dtype).itemsize
        if count < 0 or end > len(mapped):
            raise ValueError("it ends within a tensor")
        storages[key].data = memoryview(mapped)[start + 8 : end]
        start = end
    return payload


def _storage(identity: Any) -> tuple[str, str]:
    """Key and dtype in ("storage", type, key, device, count), how torch names the memory of tensors."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6):
        raise ValueError("a tensor without a storage")
    what, kind, key, *_, view = (*identity, None)[:6]
    if what != "storage" or not isinstance(kind, Global) or not isinstance(key, str | int) or view is not None:
        raise ValueError("a tensor without a storage")
    return str(key), STORAGE_DTYPES[kind.name]  # Jittor numbers its storages


def _load_trusted(path: Path) -> Any:
    import torch  # here, because it takes seconds and only trusted files need it

    unpickling = types.ModuleType("unpickling")
    vars(unpickling).update(Unpickler=TrustingUnpickler, load=lambda stream, **_: TrustingUnpickler(stream).load())
    payload = torch.load(path, map_location="cpu", weights_only=False, pickle_module=unpickling)

    def plain(value: Any) -> Any:
        if isinstance(value, torch.nn.Module):
            value = value.state_dict()
        if isinstance(value, Mapping):
            return {key: plain(each) for key, each in value.items()}
        return _stored(value) if isinstance(value, torch.Tensor) else value

    return plain(payload)


def _stored(tensor: Any) -> StoredTensor | Unread:
    """A tensor of torch as what the reading of other files gives."""
    import torch

    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.is_quantized or dtype not in DTYPES:
        return Unread("Tensor, sparse, quantised or of no usual dtype")
    numbers = tensor.detach().contiguous().flatten().view(torch.uint8).numpy()
    return StoredTensor.whole(numbers, dtype, tuple(tensor.shape))


def save_torch(path: Path, arrays: Arrays) -> None:
    """Write an official checkpoint: the same tensors as ``model`` and as ``ema.module``, stored once.

    Both, because the official evaluation reads the average and a resumed training the model. Raises OSError, or
    RuntimeError where the disk is full.
    """
    import torch

    def tensor(array: np.ndarray) -> Any:
        whole = np.asarray(array, order="C")
        return torch.from_numpy(whole if whole.flags.writeable else whole.copy())  # torch warns of read-only memory

    state = {name: tensor(array) for name, array in arrays.items()}
    torch.save({"model": state, "ema": {"module": state}}, path)
