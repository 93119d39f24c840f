"""Records survive what interrupts their writing."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.runs.host import ROOT
from experiments.tests.data_sets import user_error
from reports.record_writer import RecordWriter, append_all, keep_records


def test_records_are_on_the_file_at_once_and_numbers_come_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    with RecordWriter(path) as writer:
        writer.append({"step": 0, "lr": [1e-4 / 3]})
        assert json.loads(path.read_text()) == {"step": 0, "lr": [1e-4 / 3]}
    append_all(path, [{"step": 1}])
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1]


def test_a_value_that_is_no_number_is_null(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    append_all(path, [{"total": float("nan"), "losses": {"a": float("inf")}, "lr": [float("-inf"), 1.0]}])
    assert path.read_text() == '{"total": null, "losses": {"a": null}, "lr": [null, 1.0]}\n'


class HalfFull:
    """A stream that takes `room` bytes, then has no space left."""

    def __init__(self, inner: Any, room: int) -> None:
        self.inner, self.room = inner, room

    def fileno(self) -> int:
        return self.inner.fileno()

    def write(self, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.inner.write(data[: self.room])
        self.room -= written
        return written

    def close(self) -> None:
        self.inner.close()


def test_a_full_disk_is_one_sentence_and_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    with RecordWriter(path) as writer:
        writer.append({"step": 0})
        writer.stream = HalfFull(writer.stream, room=5)  # type: ignore[assignment]
        user_error(lambda: writer.append({"step": 1}), "disk full while writing", path, "--resume")
    assert path.read_text() == '{"step": 0}\n'


def test_a_limit_of_the_system_is_reported_in_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    program = (
        "import resource, sys, pathlib; from reports.record_writer import RecordWriter\n"
        "from frameworks.errors import UserError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "writer = RecordWriter(pathlib.Path(sys.argv[1]))\n"
        "try:\n  for step in range(50): writer.append({'step': step})\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("file size limit reached while writing"), done
    lines = path.read_text().splitlines(keepends=True)
    assert lines and all(line.endswith("}\n") for line in lines)


def test_keeping_drops_a_line_that_was_cut_off_and_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    for tail in ('{"step": 3, "lo', '{"step": 3}'):  # the second parses, but may be the head of {"step": 3}
        path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n' + tail)
        assert [each["step"] for each in keep_records(path, lambda record: record["step"] != 2)] == [0, 1]
        assert path.read_text() == '{"step": 0}\n{"step": 1}\n'


def test_keeping_names_a_line_that_is_broken_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    path.write_text('{"step": 0}\n{"st\n{"step": 2}\n')
    user_error(lambda: keep_records(path, lambda record: True), path, "line 2")
    assert keep_records(tmp_path / "absent.jsonl", lambda record: True) == []


@pytest.mark.parametrize("place", ["file/steps.jsonl", "."])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    user_error(lambda: RecordWriter(tmp_path / place), "cannot write")
