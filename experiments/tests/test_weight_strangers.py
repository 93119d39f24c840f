"""Pickles made to do harm: nothing in them runs, and no memory is taken that the file does not hold."""

import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.core.multiarray import _reconstruct  # pyright: ignore[reportAttributeAccessIssue]

from experiments.tests.refusals import refused
from experiments.weight_files import pickle_machine
from frameworks.workers.client import REPOSITORY


class Call:
    """What ``pickle.dumps`` writes as a call of a function, and a state for its result."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


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
        (array((1,) * 70, F4, b"1234"), "no tuple of sizes"),
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


def test_a_list_of_pairs_is_paid_for_each_time(tmp_path: Path) -> None:
    """Python 2's form of an OrderedDict, a thousand dicts of one list."""
    pairs = b"(" + b"".join(b"X\x04\x00\x00\x00%04dN\x86" % each for each in range(1000)) + b"lq\x00\x85q\x01"
    (tmp_path / "a.pkl").write_bytes(
        b"\x80\x02" + pairs + b"ccollections\nOrderedDict\nq\x02" + b"h\x02h\x01R" * 1000
    )
    refused(tmp_path / "a.pkl", "at most 8 times")


def test_a_model_has_not_endless_tensors(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(dict.fromkeys(map(str, range(5001)), np.ones(1))))
    refused(tmp_path / "a.pkl", "5,001 entries")


@pytest.mark.parametrize("program", [b"NR.", b"\x85b.", b"\x86b."])
def test_values_that_contain_themselves_a_million_times(tmp_path: Path, program: bytes) -> None:
    """A tuple of a tuple of ..., each twice: nothing may compare, hash or print it."""
    nest = b"Nq\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(60))
    for what in (
        b"c_codecs\nencode\nX\x01\x00\x00\x00ah\x00\x86R",
        b"cnumpy\ndtype\nh\x00\x85R(K\x03h\x00h\x00h\x00h\x00tb",
        b"}h\x00Ns",
        b"}(X\x05\x00\x00\x00modelh\x00u",
        b"h\x00",
    ):
        (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + nest + what + program)
        refused(tmp_path / "a.pkl")
        (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + nest + what + b".")
        refused(tmp_path / "a.pkl")


def test_one_array_under_many_names_is_paid_for_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    whole = np.ones(2**20, np.float16)
    path.write_bytes(pickle.dumps({f"a{each}": whole for each in range(99)}, 4))
    refused(path, "at most 8 times")
