"""A machine that lacks something: told at once, by every command that needs it, and nothing is left behind."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import frameworks
from experiments import check, machine
from experiments.run import main as run
from experiments.runs.host import ROOT
from experiments.tests.runs import said_error
from frameworks.errors import UserError
from frameworks.jittor_rtdetr.runtime import toolchain


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def no_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise toolchain.ToolMissing("Python.h not found: apt-get install python3-dev")

    monkeypatch.setattr(toolchain, "python_include", missing)


def marks(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Subject -> mark of every line."""
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    return {line[2:16].strip(): line[0] for line in lines}


def test_this_machine_can_work_and_nothing_is_made(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert check.main([]) == 0
    found = marks(capsys)
    assert "x" not in found.values()
    assert {"g++", "Python.h", "oneDNN", "GPU", "jittor cache", "disk", "locks", "memory", "locale"} <= found.keys()
    assert list(tmp_path.iterdir()) == []


def test_each_missing_thing_is_marked_and_the_status_says_so(no_compiler, no_headers, monkeypatch, capsys) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    monkeypatch.setenv("JITTOR_HOME", "/proc/nothing")
    assert check.main([]) == 1
    marked = [subject for subject, mark in marks(capsys).items() if mark == "x"]
    assert marked == ["g++", "Python.h", "jittor cache", "disk", "locks"]


def test_a_file_system_without_locks_is_a_line(monkeypatch, capsys) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(machine, "fcntl", SimpleNamespace(LOCK_EX=2, LOCK_NB=4, flock=refuse))
    assert check.main([]) == 1
    found = marks(capsys)
    assert [subject for subject, mark in found.items() if mark == "x"] == ["locks"]


def test_a_home_that_nobody_knows_is_a_line(monkeypatch, capsys) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("JITTOR_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    assert check.main([]) == 1
    assert marks(capsys)["caches"] == "x"


def test_a_package_that_is_missing_is_a_line(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "experiments.machine", None)
    assert check.main([]) == 1
    assert "pip install -e ." in capsys.readouterr().out


@pytest.mark.parametrize("lack", ["no_compiler", "no_headers"])
def test_a_run_ends_before_it_has_begun(lack: str, request, tmp_path: Path, capsys) -> None:
    request.getfixturevalue(lack)
    before = sorted(tmp_path.iterdir())
    assert run(["--preset", "tiny", "--subset", "4", "--out", str(tmp_path / "run")]) == 2
    assert sorted(tmp_path.iterdir()) == before
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "apt-get install" in captured.err and "--frameworks torch" in captured.err


def test_pytorch_alone_needs_no_compiler(no_compiler) -> None:
    frameworks.require_startable("torch")
    with pytest.raises(UserError, match="g\\+\\+ is not on PATH"):
        frameworks.require_startable("torch", "jittor")


def test_the_interpreter_of_another_worker_is_not_judged_by_this_one(no_headers, tmp_path: Path, capsys) -> None:
    options = ["--subset", "4", "--data", str(tmp_path / "gone"), "--python", f"jittor={sys.executable}"]
    assert run([*options, "--out", str(tmp_path / "run")]) == 2
    said_error(capsys, "gone")


def test_nox_can_ask_before_anything_is_installed(tmp_path: Path) -> None:
    """Without packages, from any folder: as in an environment that is still empty."""
    script = ROOT / "frameworks/jittor_rtdetr/runtime/toolchain.py"

    def start(path: str) -> subprocess.CompletedProcess[str]:
        command, own = [sys.executable, "-I", "-S", str(script)], {"PATH": path}
        return subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False)

    done = start(str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "apt-get install g++" in done.stderr
    sessions = (ROOT / "noxfile.py").read_text(encoding="utf-8").split("@nox.session")
    parity = next(each for each in sessions if "def parity(" in each)
    assert parity.index("TOOLCHAIN") < parity.index("session.install")
