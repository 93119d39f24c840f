"""Machines unlike a developer's: their threads, home folder, locks, letters, and who reads the output."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.run import main
from experiments.runs import folder
from experiments.tests.data_sets import shapes
from experiments.tests.runs import TORCH, run, said_error
from frameworks.errors import NO_READER, UserError
from frameworks.files import cache_folder, home_folder, user_path, write_atomically
from frameworks.jittor_rtdetr.runtime import checks
from frameworks.native import library
from frameworks.threads import cores, thread_count
from frameworks.workers.client import open_framework

ROOT = Path(__file__).resolve().parents[2]
NO_LOCKS = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def started(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of this project in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        errors="surrogateescape",
        check=False,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *(("3", 3), ("4,1", 4), (" 2 ,8", 2), ("4096", 4096)),
        *((each, cores()) for each in ("", "0", "-3", "all", "2.5", "4097", "9" * 5000, ",4", "²")),
    ],
)
def test_threads_are_the_first_number_of_the_list_or_the_cores(given: str, expected: int) -> None:
    assert thread_count({"OMP_NUM_THREADS": given}) == expected


def test_threads_are_the_cores_of_this_process() -> None:
    assert thread_count({}) == len(os.sched_getaffinity(0))


def test_a_worker_gets_a_number_that_openmp_understands() -> None:
    said: list[str] = []
    with open_framework("torch", variables={"OMP_NUM_THREADS": "1,4"}, log=said.append) as worker:
        assert worker.environment("cpu")["threads"] == 1
    with open_framework("torch", variables={"OMP_NUM_THREADS": "all"}, log=said.append) as worker:
        assert worker.environment("cpu")["threads"] == cores()
    assert said == []


def test_no_home_folder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "JITTOR_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    for needs_home in (home_folder, cache_folder, checks.state_folder):
        with pytest.raises(UserError, match="set HOME"):
            needs_home()
    library.load.cache_clear()
    try:
        assert library.load("deformable_attention") is None  # the formula in Python does without
    finally:
        library.load.cache_clear()  # later tests compute with the C++ form


def test_the_home_of_nobody_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="~nosuchuser/x: there is no such home folder"):
        user_path("~nosuchuser/x")
    assert main(["--subset", "4", "--data", "~nosuchuser/coco"]) == 2
    said_error(capsys, "~nosuchuser/coco", "without ~")


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NO_LOCKS

    without = SimpleNamespace(LOCK_EX=2, LOCK_NB=4, flock=refuse)
    for module in (folder, checks, library):
        monkeypatch.setattr(module, "fcntl", without)


def test_a_disk_without_locks_is_a_line_and_the_run_goes_on(
    without_locks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(shapes(tmp_path / "data", train=5, val=2), out, *TORCH, epochs=1) == 0
    assert f"{out}: its disk cannot lock files (No locks available)" in capsys.readouterr().err
    assert (out / "report.md").is_file()


def test_jittor_needs_locks_and_says_so_before_a_folder_is_made(
    without_locks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(shapes(tmp_path / "data", train=5, val=2), out, "--frameworks", "jittor") == 2
    said_error(capsys, "cannot be written and locked (No locks available)", "JITTOR_HOME")
    assert not out.exists()


def test_the_native_library_is_compiled_without_locks(
    without_locks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = library.compiled("deformable_attention")
    assert made.is_file() and not list(made.parent.glob("*.part*"))


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "gbk"},
        {},
    ],
    ids=["C", "ascii", "gbk", "utf-8"],
)
@pytest.mark.parametrize("name", ["数据", "\udcca\udcfd"], ids=["chinese", "no-text"])
def test_letters_that_the_locale_lacks_end_no_command(tmp_path: Path, locale: dict[str, str], name: str) -> None:
    place = tmp_path / name
    place.mkdir()
    listed = started("experiments/runs.py", "list", str(place), **locale)
    assert (listed.returncode, listed.stderr) == (0, "")
    refused = started("experiments/run.py", "--data", str(place / "没有"), "--subset", "4", **locale)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: --data names") and refused.stderr.count("\n") == 1


def test_a_run_below_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    place = tmp_path / "\udcca\udcfd"
    out = place / "run"
    assert run(shapes(place / "data", train=5, val=2), out, *TORCH, epochs=1) == 0
    assert r"\udcca\udcfd" in (out / "report.md").read_text(encoding="utf-8")
    assert main(["--resume", str(out)]) == 0
    write_atomically(place / "record.json", f'"{place}"')
    assert json.loads((place / "record.json").read_text(encoding="utf-8")) == str(place)


@pytest.mark.parametrize(
    "command",
    [("experiments/spec.py", "show", "rtdetr_r18vd"), ("experiments/run.py", "--data", "/nowhere")],
    ids=["output", "error"],
)
def test_a_command_ends_without_a_word_when_nobody_reads(command: tuple[str, ...]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as closed:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, stdout=closed, stderr=closed, timeout=120, check=False
        )
    assert done.returncode == NO_READER
