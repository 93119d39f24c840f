"""Files made to do harm: no constructor of NumPy runs, no memory is taken that the file does not hold."""

import json
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.core.multiarray import _reconstruct  # pyright: ignore[reportAttributeAccessIssue]

from experiments.untrusted import ALWAYS
from experiments.weight_files import pickle_machine
from experiments.weight_files.readers import read_weights
from experiments.weight_files.stored_arrays import StoredTensor
from frameworks.errors import UserError
from frameworks.workers.client import REPOSITORY


class Call:
    """What ``pickle.dumps`` writes as a call of a function, and a state for its result."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def refused(path: Path, fragment: str = "") -> str:
    """The one line with which a file is refused, for less memory than small files may take."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=fragment) as error:
            read_weights(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    line = str(error.value)
    assert str(path) in line and line.isprintable() and len(line) < 700
    assert peak < 1.5 * ALWAYS
    return line


def array(shape: Any, dtype: Any, data: Any) -> Call:
    return Call(_reconstruct, (np.ndarray, (0,), b"b"), (1, shape, dtype, False, data))


def structured() -> Call:
    """A dtype of object pointers that claims to hold none, so that NumPy takes them from bytes."""
    objects = Call(np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 63))
    return Call(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (objects, 0)}, 8, 1, 1))


def test_bytes_never_become_pointers(tmp_path: Path) -> None:
    """NumPy's own constructors would take 0x1000 for the address of an object, and crash when they release it."""
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": array((4,), structured(), struct.pack("<4Q", *[0x1000] * 4))}, 4))
    command = [sys.executable, "experiments/weights.py", "inspect", str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert "no number" in done.stderr


F4 = np.dtype("<f4")


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        (array((2**34,), F4, b"1234"), "4 bytes for an array"),
        (array((2, -1), F4, b"1234"), "no tuple of sizes"),
        (array((0, 2**63), F4, b""), "no tuple of sizes"),
        (array((0, 2**62), F4, b""), "cannot be read"),
        (array((1,) * 70, F4, b"1234"), "cannot be read"),
        (array((2,), np.dtype("O"), [1, 2]), "dtype object"),
        (array((1,), np.dtype("f4,O"), b"123412345678"), "no number"),
        (array((1,), np.dtype("(3,)f4"), b"123412341234"), "no number"),
        (array("x", F4, b"1234"), "no tuple of sizes"),
        (array((1,), "f4", b"1234"), "no number"),
        (array((1,), F4, "1234"), "without their bytes"),
        (Call(_reconstruct, (np.ndarray, (0,), b"b"), (1, 2)), "cannot be read"),
        (Call(OrderedDict, (), 1), "tensors"),
    ],
)
def test_arrays_in_pickles_hold_their_bytes(tmp_path: Path, value: Any, fragment: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": value}, 4))
    refused(path, fragment)


@pytest.mark.parametrize(
    ("program", "fragment"),
    [
        (b"N" * 40 + b"\x85" * 40 + b"}(" + b"N\x86" * 9, "cannot be read"),
        (b"})N\x86" + b"2\x86" * 60 + b"Ns.", "a tuple for a key"),
        (
            b"}(" + b"".join(b"\x8a\x08" + struct.pack("<q", n * (2**61 - 1)) + b"N" for n in range(4)) + b"u.",
            "tensors",
        ),
        (b"\x8e" + struct.pack("<Q", 2**40) + b"xx", "cannot be read"),
        (b"\x8a\x08" + b"\x01" * 8 + b"r\xff\xff\xff\xffcnumpy\ndtype\n(X\x02\x00\x00\x00f4tR.", "holds a _Dtype"),
        (b"c__builtin__\nbytes\n(\x8a\x06\x00\x00\x00\x00\x00\x7ftR.", "cannot be read"),
        (b"cnumpy\nndarray\n(K\x01tR.", "no function"),
        (b"\x88\x88R.", "no function"),
        (b"}}b.", "tensors"),
        (b"0.", "cannot be read"),
        (b"P1\n.", "PERSID"),
        (b"\x82\x01.", "EXT1"),
        (b"ios\nsystem\n.", "os.system"),
        (b"cos\nsy\x1bstem\n.", "refused"),
    ],
)
def test_pickles_that_are_no_files_of_arrays(tmp_path: Path, program: bytes, fragment: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04" + program)
    refused(path, fragment)


@pytest.mark.parametrize(
    ("limit", "program", "fragment"),
    [
        ("MOST_STEPS", b"N" * 99, "instructions"),
        ("_MOST_ODD_KEYS", b"}(" + b"K\x01N" * 99 + b"u.", "too many"),
    ],
)
def test_pickles_that_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, program: bytes, fragment: str
) -> None:
    monkeypatch.setattr(pickle_machine, limit, 50)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + program)
    refused(tmp_path / "a.pkl", fragment)


def test_text_that_stands_for_bytes_is_paid_for(tmp_path: Path) -> None:
    """One text of 4 MB in the file, turned into bytes a hundred times."""
    text = b"X" + struct.pack("<I", 2**22) + b"a" * 2**22 + b"q\x00" + b"X\x06\x00\x00\x00latin1q\x01"
    calls = b"c_codecs\nencode\n(h\x00h\x01tR" * 100
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02" + text + b"(" + calls + b"t.")
    refused(path, "at most 8 times")


def test_one_array_under_many_names_is_paid_for_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    whole = np.ones(2**20, np.float16)
    path.write_bytes(pickle.dumps({f"a{each}": whole for each in range(99)}, 4))
    refused(path, "at most 8 times")


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_that_repeat_one_number(tmp_path: Path, legacy: bool) -> None:
    """Steps of 0: a file of 500 bytes with a tensor of 2^34 numbers."""
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(1).expand(2**34)}, path, _use_new_zipfile_serialization=not legacy)
    refused(path, "at most 8 times")
    torch.save({"a": torch.ones(3).expand(2, 3)}, path, _use_new_zipfile_serialization=not legacy)
    assert read_weights(path).arrays["a"].tolist() == [[1] * 3] * 2


def test_tensors_stay_inside_their_storage() -> None:
    storage = StoredTensor.whole(memoryview(bytearray(16)), "float32", (4,)).storage
    for offset, shape, strides in [
        (0, (5,), (1,)),
        (-1, (2,), (1,)),
        (2, (2, 2), (2, 1)),
        (0, (2**33, 2), (2**32, 1)),  # the product of size and step overflows 64 bits
        (0, (2,), (-1,)),
        (0, (2,), (1, 1)),
        (2**62, (1,), (1,)),
        (0, (True,), (1,)),
        ("0", (1,), (1,)),
    ]:
        with pytest.raises((ValueError, TypeError)):
            StoredTensor(storage, "float32", offset, shape, strides).array()  # pyright: ignore[reportArgumentType]
    assert StoredTensor(storage, "float32", 1, (3, 0), (1, 1)).array().shape == (3, 0)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16])
@pytest.mark.parametrize("trust", [False, True])
def test_every_number_of_small_dtypes_is_widened_exactly(tmp_path: Path, dtype: torch.dtype, trust: bool) -> None:
    bits = torch.arange(256, dtype=torch.uint8) if dtype.itemsize == 1 else torch.arange(2**16).to(torch.int16)
    torch.save({"a": bits.view(dtype)}, tmp_path / "a.pth")
    found = read_weights(tmp_path / "a.pth", trust=trust).arrays["a"]
    np.testing.assert_array_equal(found, bits.view(dtype).float().numpy())
    assert found.dtype == np.float32


def test_what_checkpoints_have_beside_tensors(tmp_path: Path) -> None:
    """The state of schedulers and the like is read past, not run."""
    beside = {
        "counter": Counter({3: 1}),
        "size": torch.Size([1, 2]),
        "set": {1, 2},
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "scalar": np.float64(2),
        "optimizer": {
            "state": {0: {"step": torch.tensor(1.0)}},
            "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.99)}],
        },
    }
    transposed = torch.arange(6.0).reshape(2, 3).T
    parameter = torch.nn.Parameter(transposed)
    for legacy in (False, True):
        payload = {"model": OrderedDict(a=transposed, b=parameter, c=transposed[1:, 1]), **beside}
        torch.save(payload, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        found = read_weights(tmp_path / "a.pth").arrays
        assert found["a"].tolist() == found["b"].tolist() == [[0, 3], [1, 4], [2, 5]]
        assert found["c"].tolist() == [4, 5]


def zipped(path: Path, name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, data)


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n"


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path, zeros = tmp_path / "a.npz", b"\0" * 2**20
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        for _ in range(99):
            member.write(zeros)
    assert path.stat().st_size < 200_000
    refused(path, "at most 8 times")
    torch.save({"a": torch.zeros(9)}, tmp_path / "b.pth")  # the same in a .pth: its storage is compressed
    with zipfile.ZipFile(tmp_path / "b.pth") as source, zipfile.ZipFile(tmp_path / "c.pth", "w") as target:
        for info in source.infolist():
            data = b"\0" * 99 * 2**20 if info.filename.endswith("/0") else source.read(info)
            target.writestr(info.filename, data, zipfile.ZIP_DEFLATED)
    refused(tmp_path / "c.pth", "at most 8 times")


@pytest.mark.parametrize(
    ("data", "fragment"),
    [
        (npy(HEADER % "2,", b"12345678")[:-1], "7 bytes for an array"),
        (npy(HEADER % "1000000000000,"), "0 bytes for an array"),
        (npy(HEADER % ("9" * 5000 + ","), b"1234"), "cannot be read"),
        (npy(HEADER.replace("<f4", "|O") % "1,", b"12345678"), "no array of plain numbers"),
        (npy(HEADER.replace("'<f4'", "[('a', 'O')]") % "1,", b"12345678"), "no array of plain numbers"),
        (npy("(" * 5000), "no array of plain numbers"),
        (npy("{'descr': '''<f4"), "no array of plain numbers"),
        (b"\x93NUMPY\x01\x00", "cannot be read"),
        (b"x", "cannot be read"),
    ],
)
def test_arrays_in_archives_are_plain(tmp_path: Path, data: bytes, fragment: str) -> None:
    zipped(tmp_path / "a.npz", "a.npy", data)
    refused(tmp_path / "a.npz", fragment)


def test_archives_of_unusual_kinds(tmp_path: Path) -> None:
    data = npy(HEADER % "1,", b"1234")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        zipped(tmp_path / "a.npz", "a.npy", data, method)
        refused(tmp_path / "a.npz", "compressed by method")
    zipped(tmp_path / "a.npz", "a.npy", data, zipfile.ZIP_STORED)
    whole = (tmp_path / "a.npz").read_bytes()
    entry = whole.index(b"PK\x01\x02")
    for at, byte, fragment in [
        (entry + 8, 1, "encrypted"),
        (entry - 2, 0, "not what"),
        (entry + 24, 9, "not what"),
    ]:
        changed = bytearray(whole)
        changed[at] = byte
        (tmp_path / "a.npz").write_bytes(changed)
        refused(tmp_path / "a.npz", fragment)
    for version in (1, 2, 3):
        zipped(tmp_path / "a.npz", "a.npy", npy(HEADER % "1, 1", b"\0\0\x80?", version))
        assert read_weights(tmp_path / "a.npz").arrays["a"].tolist() == [[1]]


def safetensors(path: Path, header: Any, data: bytes = bytes(8)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 8]}},
        {"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}},
        {"a": {"dtype": [], "shape": [1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "more": 1}},
        {"a": 3},
        b"{",
        b'{"a":' * 9000,
        b'{"\xff": 1}',
        b'{"a": ' + b"9" * 9000 + b"}",
    ],
)
def test_headers_of_safetensors(tmp_path: Path, header: Any) -> None:
    refused(safetensors(tmp_path / "a", header), "cannot be read as safetensors")


def test_the_length_of_a_header_is_that_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(struct.pack("<Q", 2**63) + b"{}" + bytes(20))
    refused(tmp_path / "a", "header of")


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "a" * 10_000])
def test_names_of_tensors_are_plain_text(tmp_path: Path, name: str) -> None:
    header = {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    refused(safetensors(tmp_path / "a", header), "expected named tensors")


def test_checksums_of_archives_hold(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    at = data.index(np.ones(3).tobytes())
    data[at + 3] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    refused(tmp_path / "a.npz", "not what the archive's directory says")
