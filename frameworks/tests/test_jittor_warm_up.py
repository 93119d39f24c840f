"""Jittor's first import: compiled once, by one process, with progress, and refused when it computes wrongly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from frameworks.errors import UserError
from frameworks.jittor_rtdetr.runtime import warm_up
from frameworks.jittor_rtdetr.runtime.probe import MARK
from frameworks.tests.waiting import eventually

GOOD = {"arithmetic": True, "nan_differs_from_itself": True, "convolution": True}


@pytest.fixture
def fake_probe(monkeypatch, tmp_path):
    """Replaces the subprocess's script: `fake_probe(lines)` is what it runs instead of compiling Jittor."""

    def install(code: str) -> None:
        path = tmp_path / "probe.py"
        path.write_text(code, encoding="utf-8")
        monkeypatch.setattr(warm_up, "PROBE", path)

    return install


def result(cache: Path, **checks: bool) -> str:
    content = {"cache_path": str(cache), "has_cuda": False, "checks": {**GOOD, **checks}}
    return f"print('dnnl_verbose,exec,cpu,convolution,jit')\nprint({MARK!r} + {json.dumps(content)!r})\n"


def compiled(tmp_path: Path) -> Path:
    cache = tmp_path / "cache"
    (cache / "jit").mkdir(parents=True)
    (cache / "jittor_core.cpython.so").touch()
    (cache / "jit" / "one_op.so").touch()
    (cache / "jit" / "one_op.so.key").touch()
    return cache


def test_warm_up_once_then_by_stamp(fake_probe, tmp_path):
    fake_probe(result(compiled(tmp_path)))
    said: list[str] = []
    first = warm_up.warm_up(tmp_path, "k", "cpu", said.append)
    assert first["checks"]["onednn"] and said[-1].startswith("Jittor is ready")
    fake_probe("raise SystemExit(1)")
    said.clear()
    assert warm_up.warm_up(tmp_path, "k", "cpu", said.append) == first
    assert said == []
    with pytest.raises(UserError):
        warm_up.warm_up(tmp_path, "other", "cpu", said.append)


def test_stamp_without_its_files_or_damaged_is_ignored(tmp_path):
    cache = compiled(tmp_path)
    stamp = tmp_path / "ready.json"
    stamp.write_text(json.dumps({"cache_path": str(cache)}), encoding="utf-8")
    assert warm_up.read_stamp(stamp) is not None
    (cache / "jittor_core.cpython.so").unlink()
    assert warm_up.read_stamp(stamp) is None
    stamp.write_text("{", encoding="utf-8")
    assert warm_up.read_stamp(stamp) is None


def test_warm_up_runs_again_when_jittor_asks_for_it(fake_probe, tmp_path):
    marker = tmp_path / "seen"
    again = f"import pathlib\nif not pathlib.Path({str(marker)!r}).exists():\n"
    again += f"    pathlib.Path({str(marker)!r}).touch()\n    raise SystemExit(0)\n"
    fake_probe(again + result(compiled(tmp_path)))
    assert warm_up.warm_up(tmp_path, "k", "cpu", lambda _: None)["checks"]["arithmetic"]
    fake_probe("raise SystemExit(0)")
    with pytest.raises(UserError, match="3 times without an error and without a result"):
        warm_up.warm_up(tmp_path, "never", "cpu", lambda _: None)


def test_failed_warm_up_is_one_line_with_the_log(fake_probe, tmp_path):
    fake_probe(
        "print('x.cc:3: \\x1b[31mfatal error\\x1b[0m: Python.h: No such file')\nprint('bye')\nraise SystemExit(1)"
    )
    with pytest.raises(UserError) as error:
        warm_up.warm_up(tmp_path, "k", "cpu", lambda _: None)
    log = tmp_path / "warm-up-cpu-k.log"
    assert "\n" not in str(error.value)
    assert "x.cc:3: fatal error: Python.h" in str(error.value) and str(log) in str(error.value)
    assert "bye" in log.read_text(encoding="utf-8")
    assert not (tmp_path / "ready-cpu-k.json").exists()


@pytest.mark.parametrize("failed", ["nan_differs_from_itself", "convolution"])
def test_wrong_results_are_refused(fake_probe, tmp_path, failed):
    fake_probe(result(compiled(tmp_path), **{failed: False}))
    with pytest.raises(UserError, match="computes wrongly on this machine"):
        warm_up.warm_up(tmp_path, "k", "cpu", lambda _: None)


def test_convolution_without_onednn_is_refused(fake_probe, tmp_path):
    fake_probe(result(compiled(tmp_path)).split("\n", 1)[1])
    with pytest.raises(UserError, match="does not use oneDNN"):
        warm_up.warm_up(tmp_path, "k", "cpu", lambda _: None)


def test_warm_up_says_what_it_does(fake_probe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(warm_up, "INTERVAL_S", 0.1)
    slow = "import time\nprint('Compiling jittor_core(12/150) used: 2s', end='\\r')\ntime.sleep(1)\n"
    fake_probe(slow + result(compiled(tmp_path)))
    warm_up.warm_up(tmp_path, "k", "cpu")
    assert "compiling its core, file 12 of 150" in capsys.readouterr().err


def test_second_process_waits(fake_probe, tmp_path):
    """Two at once: one compiles, the other says that it waits and then takes the first one's result."""
    fake_probe("import time\ntime.sleep(1)\n" + result(compiled(tmp_path)))
    code = (
        "import sys, pathlib\nfrom frameworks.jittor_rtdetr.runtime import warm_up\n"
        f"warm_up.PROBE = pathlib.Path({str(warm_up.PROBE)!r})\n"
        f"warm_up.warm_up(pathlib.Path({str(tmp_path)!r}), 'k', 'cpu')\n"
    )
    root = str(Path(__file__).parents[2])
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    said = sorted((process.communicate(timeout=60)[1] for process in both), key=lambda text: "waiting" in text)
    assert [process.returncode for process in both] == [0, 0]
    assert "waiting" in said[1] and "is ready" not in said[1]
    assert "is ready" in said[0] and "waiting" not in said[0]


def test_interruption_ends_the_compilers_too(fake_probe, tmp_path, monkeypatch):
    monkeypatch.setattr(warm_up, "INTERVAL_S", 0.1)
    started = tmp_path / "started"
    fake_probe(
        f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )

    def interrupt(message: str) -> None:
        if started.exists() and started.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        warm_up.warm_up(tmp_path, "k", "cpu", interrupt)
    assert not Path(f"/proc/{started.read_text()}").exists()


def test_compilers_end_when_their_caller_is_killed(fake_probe, tmp_path):
    started = tmp_path / "started"
    fake_probe(
        "import os, pathlib, subprocess, time\n"
        "from frameworks.jittor_rtdetr.runtime.probe import end_with_parent\n"
        "end_with_parent()\n"
        "compiler = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(started)!r}).write_text(f'{{os.getpid()}} {{compiler.pid}}')\n"
        "time.sleep(60)\n"
    )
    code = (
        "import pathlib\nfrom frameworks.jittor_rtdetr.runtime import warm_up\n"
        f"warm_up.PROBE = pathlib.Path({str(warm_up.PROBE)!r})\n"
        f"warm_up.warm_up(pathlib.Path({str(tmp_path)!r}), 'k', 'cpu', lambda _: None)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert eventually(lambda: started.exists() and len(started.read_text().split()) == 2)
    caller.kill()
    caller.wait()
    assert eventually(lambda: not any(map(alive, started.read_text().split())))


def alive(pid: str) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
