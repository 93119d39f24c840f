"""Files that are hostile, damaged or something else: nothing runs, one line says what is wrong."""

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.weight_files import writers
from experiments.weight_files.pickles import JITTOR_END
from experiments.weight_files.readers import read_weights
from experiments.weight_files.writers import write_weights
from frameworks.arrays import Arrays
from frameworks.config import preset
from frameworks.errors import UserError
from frameworks.files import unused
from frameworks.state.initialisation import initial_weights

TINY = preset("tiny")
WEIGHTS = initial_weights(TINY.model, 3)


class Hostile:
    """Creates a file when it is unpickled by an ordinary reader."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".legacy.pth", ".jittor.pkl"])
def test_nothing_in_a_hostile_pickle_runs(tmp_path: Path, suffix: str) -> None:
    mark, path = tmp_path / "ran", tmp_path / f"a{suffix}"
    if suffix.endswith(".pth"):
        payload = {"model": {"a": torch.ones(1)}, "args": Hostile(mark)}
        torch.save(payload, path, _use_new_zipfile_serialization="legacy" not in suffix)
    else:
        data = pickle.dumps({"model": {"a": np.ones(1)}, "args": Hostile(mark)}, 4)
        path.write_bytes(data + (hashlib.sha1(data).digest() + JITTOR_END if "jittor" in suffix else b""))
    with pytest.raises(UserError, match=r"posix\.mkdir.*--trust") as error:
        read_weights(path)
    assert not mark.exists() and "\n" not in str(error.value)
    assert read_weights(path, trust=True).arrays["a"].tolist() == [1]
    assert mark.exists(), "the pickle does run when somebody trusts it"


@pytest.mark.parametrize(
    "source",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04cnumpy.core.multiarray\nfromfile\n(S'/etc/passwd'\ntR.",
        b"\x80\x04cjittor.compiler\nrun_cmd\n.",
        b"\x80\x04cbuiltins\ngetattr\n.",
    ],
)
def test_only_arrays_are_known(tmp_path: Path, source: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(source)
    with pytest.raises(UserError, match=r"refused|expected weights as"):
        read_weights(path)


def test_an_array_of_objects_is_no_way_in(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "a.npz"
    np.savez(path, a=np.array([Hostile(mark)], dtype=object))
    with pytest.raises(UserError, match=r"cannot be read as .npz"):
        read_weights(path)
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"a": np.array(["x", None], dtype=object)}))
    with pytest.raises(UserError, match="dtype object"):
        read_weights(tmp_path / "b.pkl")
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pkl", ".npz"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_truncated(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez(path, **{name: WEIGHTS[name] for name in list(WEIGHTS)[:9]})
    else:
        write_weights(path, WEIGHTS, TINY, writers.SUFFIXES[suffix])
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(UserError, match=r"truncated|empty|expected weights as|checksum") as error:
        read_weights(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_header_of_other_names(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(path, WEIGHTS, TINY, "safetensors")
    path.write_bytes(path.read_bytes().replace(b'"shape"', b'"s\x7fape"', 1))
    with pytest.raises(UserError, match=r"'s\\x7fape'.*expected dtype, shape and data_offsets") as error:
        read_weights(path)
    assert str(error.value).isprintable()


def test_jittor_files_are_held_to_their_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    write_weights(path, WEIGHTS, TINY, "pkl")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="checksum"):
        read_weights(path)


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.write_text("hello, world"), "starts with"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(9)), "HDF5"),
        (lambda path: path.write_bytes(pickle.dumps([1, 2])), "holds a list"),
        (lambda path: path.write_bytes(pickle.dumps({})), "no tensors"),
        (lambda path: path.write_bytes(pickle.dumps({"a": "b"})), "'a' is a str"),
        (
            lambda path: path.write_bytes(pickle.dumps({"a": np.ones(1), "StructuredToParameterName@@": {}})),
            "Paddle",
        ),
        (lambda path: torch.save([torch.ones(1)], path), "holds a list"),
        (lambda path: torch.save({"a": torch.ones(2, 2).to_sparse()}, path), "'a' is a Tensor"),
    ],
)
def test_other_things(tmp_path: Path, make: Callable[[Path], object], fragment: str) -> None:
    path = tmp_path / "x"
    make(path)
    with pytest.raises(UserError, match=fragment) as error:
        read_weights(path)
    assert str(path) in str(error.value)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"old")

    def full(part: Path, weights: Arrays, target: str) -> None:
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writers, "_write", full)
    with pytest.raises(UserError, match="No space left"):
        write_weights(path, WEIGHTS, TINY, "pkl")
    assert [each.name for each in tmp_path.iterdir()] == ["a.pkl"] and path.read_bytes() == b"old"


@pytest.mark.parametrize("target", ["pth", "safetensors", "pkl"])
def test_a_write_follows_no_link_and_gives_the_rights_of_the_umask(tmp_path: Path, target: str) -> None:
    """Of all files beside the target, whatever their names, none is written to."""
    path, victim = tmp_path / "a.bin", tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".a.bin.part").symlink_to(victim)
    path.symlink_to(victim)
    before = os.umask(0o027)
    try:
        write_weights(path, {"a": np.ones(3, np.float32)}, TINY, target, complete=False)
    finally:
        os.umask(before)
    assert victim.read_text() == "precious"
    assert not path.is_symlink() and path.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == [".a.bin.part", "a.bin", "victim"]


def test_two_starts_in_one_second_get_two_folders(tmp_path: Path) -> None:
    made = [unused(tmp_path / "new" / "run-1") for _ in range(3)]
    assert [each.name for each in made] == ["run-1", "run-1-2", "run-1-3"] and all(each.is_dir() for each in made)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        unused(tmp_path / "file" / "run")
