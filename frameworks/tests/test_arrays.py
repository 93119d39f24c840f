"""Arrays in files: every dtype and shape is read back, errors are one line, a failed write keeps the old file."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from frameworks import arrays
from frameworks.arrays import load_arrays, save_arrays
from frameworks.errors import UserError

CASES = {
    "scalar": np.asarray(3.5),
    "scalar int": np.asarray(7, np.int64),
    "empty": np.zeros((0,), np.float32),
    "empty rows": np.zeros((0, 4), np.float64),
    "empty inner": np.zeros((3, 0, 2), np.int64),
    "float64": np.asarray([1 / 3, np.pi, -0.0, np.nextafter(1, 2)]),
    "float32": np.asarray([[1 / 3, 1e-45]], np.float32),
    "int64": np.asarray([2**62 + 1, -(2**63)]),
    "int32": np.asarray([1, -1], np.int32),
    "bool": np.asarray([[True, False], [False, False]]),
    "not finite": np.asarray([np.nan, np.inf, -np.inf]),
    "transposed": np.arange(12.0).reshape(3, 4).T,
    "strided": np.arange(20.0)[::3],
    "reversed": np.arange(5)[::-1],
    "broadcast": np.broadcast_to(np.asarray([1.0, 2.0]), (3, 2)),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "read only": np.frombuffer(b"\1\2\3\4\5\6\7\10", np.int64),
}


@pytest.mark.parametrize("case", CASES)
def test_round_trip(case, tmp_path):
    save_arrays(tmp_path / "a.safetensors", {case: CASES[case]})
    loaded = load_arrays(tmp_path / "a.safetensors")
    assert list(loaded) == [case]
    assert loaded[case].dtype == CASES[case].dtype and loaded[case].shape == CASES[case].shape
    assert loaded[case].tobytes() == np.ascontiguousarray(CASES[case]).tobytes()


def test_all_together_and_names_with_slashes(tmp_path):
    named = {f"step0/capture/{name}": array for name, array in CASES.items()}
    save_arrays(tmp_path / "a.safetensors", named)
    loaded = load_arrays(tmp_path / "a.safetensors")
    assert loaded.keys() == named.keys()
    assert all(loaded[n].tobytes() == np.ascontiguousarray(named[n]).tobytes() for n in named)


def test_no_arrays_at_all(tmp_path):
    save_arrays(tmp_path / "a.safetensors", {})
    assert load_arrays(tmp_path / "a.safetensors") == {}


def test_saving_does_not_change_the_arrays(tmp_path):
    original = np.arange(12.0).reshape(3, 4).T
    before = original.copy()
    save_arrays(tmp_path / "a.safetensors", {"a": original})
    np.testing.assert_array_equal(original, before)


def test_metadata_is_stored(tmp_path):
    import safetensors

    save_arrays(tmp_path / "a.safetensors", {"a": np.zeros(1)}, {"spec": "0123"})
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="numpy") as opened:
        assert opened.metadata() == {"spec": "0123"}


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_arrays(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 8, 20, -1])
def test_truncated_file_is_one_line(keep, tmp_path):
    whole = tmp_path / "a.safetensors"
    save_arrays(whole, {"a": np.arange(100.0)})
    whole.write_bytes(whole.read_bytes()[:keep])
    assert "as safetensors" in refusal(whole)


def test_foreign_file_is_one_line(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"PK\3\4 not safetensors at all" * 20)
    refusal(path)


def test_missing_file_and_folder_are_one_line(tmp_path):
    assert refusal(tmp_path / "absent.safetensors").startswith("no such file: ")
    refusal(tmp_path)


def test_folder_that_does_not_exist_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*absent") as caught:
        save_arrays(tmp_path / "absent" / "a.safetensors", {"a": np.zeros(1)})
    assert "\n" not in str(caught.value)


def test_failed_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"a": np.zeros(3)})

    def full_disk(content, target, metadata):
        Path(target).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrays, "save_file", full_disk)
    with pytest.raises(UserError, match="No space left"):
        save_arrays(path, {"a": np.ones(3)})
    np.testing.assert_array_equal(load_arrays(path)["a"], np.zeros(3))
    assert list(tmp_path.iterdir()) == [path]


def test_reader_never_sees_a_part(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"a": np.zeros(3)})
    real, seen = arrays.save_file, []

    def watched(content, target, metadata):
        real(content, target, metadata)
        seen.append(load_arrays(path)["a"])  # written, not yet renamed

    monkeypatch.setattr(arrays, "save_file", watched)
    save_arrays(path, {"a": np.ones(3)})
    np.testing.assert_array_equal(seen[0], np.zeros(3))
    np.testing.assert_array_equal(load_arrays(path)["a"], np.ones(3))


def test_array_that_has_no_safetensors_type_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"a": np.zeros(3)})
    with pytest.raises((UserError, KeyError, ValueError, TypeError)):
        save_arrays(path, {"a": np.asarray(["text"])})
    np.testing.assert_array_equal(load_arrays(path)["a"], np.zeros(3))
    assert list(tmp_path.iterdir()) == [path]


def test_equal_arrays_give_equal_bytes(tmp_path):
    """safetensors alone writes metadata in a random order."""
    metadata = {name: f'é {name} "quoted"\n' for name in ("epochs", "steps", "spec", "spec_hash", "a", "b")}
    given = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "counter": np.array(7), "empty": np.zeros((0, 4))}
    written = set()
    for order in (list(metadata), sorted(metadata), sorted(metadata, reverse=True)) * 3:
        save_arrays(tmp_path / "file", given, {name: metadata[name] for name in order})
        written.add((tmp_path / "file").read_bytes())
    assert len(written) == 1
    read = load_arrays(tmp_path / "file")
    assert all(np.array_equal(read[name], array) for name, array in given.items())
    with safe_open(tmp_path / "file", framework="numpy") as opened:
        assert opened.metadata() == metadata


def test_files_have_the_rights_of_the_umask(tmp_path):
    path, scratch = tmp_path / "a.safetensors", tmp_path / "a.safetensors.part"
    before = os.umask(0o027)
    try:
        scratch.write_bytes(b"left by a killed process of an older version")
        scratch.chmod(0o600)
        save_arrays(path, {}, {})
        scratch.mkdir()
        (scratch / ".tmp7LbTT9").write_bytes(b"left by a killed process")
        save_arrays(path, {"x": np.zeros(3, np.float32)}, {"a": "b"})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]
