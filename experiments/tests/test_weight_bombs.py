"""Containers made to do harm: archives, tensors and headers that ask for what the file does not hold."""

import json
import struct
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.diagnosis.names import read_names
from experiments.diagnosis.subject import read_arrays
from experiments.tests.refusals import refused
from experiments.weight_files.inject import read_backbone
from experiments.weight_files.readers import read_weights
from experiments.weight_files.stored_arrays import StoredTensor
from frameworks.config import preset
from frameworks.errors import UserError


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
        with pytest.raises(ValueError):
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
        for _ in range(70):
            member.write(zeros)
    assert path.stat().st_size < 200_000
    refused(path, "at most 8 times")
    torch.save({"a": torch.zeros(9)}, tmp_path / "b.pth")  # the same in a .pth: its storage is compressed
    with zipfile.ZipFile(tmp_path / "b.pth") as source, zipfile.ZipFile(tmp_path / "c.pth", "w") as target:
        for info in source.infolist():
            data = b"\0" * 70 * 2**20 if info.filename.endswith("/0") else source.read(info)
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


def test_name_maps_and_inputs_of_a_diagnosis_are_files_of_strangers_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not a name map"):
        read_backbone({}, preset("tiny").model, rules_file=tmp_path / "a.json")
    (tmp_path / "a.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(UserError, match="cannot be read"):
        read_names(tmp_path / "a.toml")
    zipped(tmp_path / "a.npz", "a.npy", npy(HEADER % "1000000000000,"))
    with pytest.raises(UserError, match=r"cannot be read as \.npz"):
        read_arrays(str(tmp_path / "a.npz"))
