"""Arrays between two processes: the same bits on the other side, however large, and nothing left behind."""

import os
import subprocess
import sys

import numpy as np
import pytest

from frameworks.errors import UserError
from frameworks.tests.test_arrays import CASES
from frameworks.workers import exchange
from frameworks.workers.exchange import Exchange


@pytest.fixture
def pair():
    """Both ends of one file."""
    ours = Exchange()
    theirs = Exchange(os.dup(ours.descriptor))
    yield ours, theirs
    ours.close()
    theirs.close()


def same(one, other):
    """Whether two dictionaries of arrays are the same to the bit."""
    return one.keys() == other.keys() and all(
        one[n].dtype == other[n].dtype and one[n].shape == other[n].shape and one[n].tobytes() == other[n].tobytes()
        for n in one
    )


def test_all_kinds_of_arrays_arrive(pair):
    groups = {"a": dict(CASES), "b": {"x": np.arange(12.0).reshape(3, 4).T}, "empty": {}}
    found = pair[1].read(pair[0].write(groups))
    assert found.keys() == groups.keys() and all(same(found[group], groups[group]) for group in groups)
    assert all(array.flags.writeable for array in found["a"].values())


def test_what_was_read_does_not_change_with_the_next_message(pair):
    first = pair[1].read(pair[0].write({"a": {"x": np.zeros(1000)}}))["a"]["x"]
    answer = pair[0].read(pair[1].write({"a": {"x": np.ones(2000)}}))["a"]["x"]
    pair[0].write({"a": {"x": np.full(3000, 2.0)}})
    assert not first.any() and answer.tolist() == [1.0] * 2000


def test_a_large_message_is_given_back_and_a_small_one_keeps_its_pages(pair, monkeypatch):
    monkeypatch.setattr(exchange, "KEPT_BYTES", 8000)
    for count in (1000, 1001, 10, 5000, 1000):
        sent = {"a": {"x": np.arange(float(count))}}
        found = pair[1].read(pair[0].write(sent))
        assert same(found["a"], sent["a"])
        size = os.fstat(pair[0].descriptor).st_size
        assert (size == 0) == (8 * count > 8000)
        found = pair[0].read(pair[1].write(sent))
        assert same(found["a"], sent["a"])


@pytest.mark.parametrize("reason", ["missing", "forbidden"])
def test_without_files_in_memory_the_temporary_folder_serves_and_says_so(reason, monkeypatch, tmp_path):
    def refuse(name):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if reason == "missing":
        monkeypatch.delattr(os, "memfd_create")
    else:
        monkeypatch.setattr(os, "memfd_create", refuse)
    file = Exchange()
    sent = {"a": {"x": np.arange(5)}}
    assert same(file.read(file.write(sent))["a"], sent["a"])
    assert file.kind.startswith("temporary file (") and ("memfd" in file.kind or "permitted" in file.kind)
    assert list(tmp_path.iterdir()) == [], "the file has no name"
    file.close()


def test_no_room_is_one_line(pair, monkeypatch):
    def full(descriptor, start, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"^cannot pass 8 MB to another process \(No space left on device\)"):
        pair[0].write({"a": {"x": np.zeros(2**20)}})


def test_objects_cannot_travel(pair):
    with pytest.raises(ValueError, match="x: an array of dtype object"):
        pair[0].write({"a": {"x": np.asarray([None])}})


def test_a_child_of_the_worker_does_not_hold_the_file():
    file = Exchange()
    code = f"import os, sys; sys.exit(os.path.exists('/proc/self/fd/{file.descriptor}'))"
    os.set_inheritable(file.descriptor, True)  # as in the worker, which inherited it
    Exchange(file.descriptor)
    assert subprocess.run([sys.executable, "-c", code], check=False, close_fds=False).returncode == 0
    file.close()
