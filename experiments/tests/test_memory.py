"""The measurement of memory finds what grows, in readings and in a process, and nothing else."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import frameworks
from experiments.benchmarks import memory
from experiments.benchmarks.memory import (
    FIGURE,
    RECORDS,
    SETTLED,
    WINDOW,
    Samples,
    judge,
    main,
    report,
    resident_mb,
)
from experiments.tests.data_sets import user_error
from experiments.tests.runs import rows, said_error

STEPS = 2200


def curve(size: Callable[[int], float]) -> Samples:
    """Readings of a process of this size, MB by step, with noise and with a spike every 100 steps."""
    noise = np.random.default_rng(0).normal(0, 0.5, STEPS + 1)
    return [(n, size(n) + noise[n] + 40 * (n % 100 == 0)) for n in range(5, STEPS + 1, 5)]


def test_what_settles_and_stays_is_flat() -> None:
    found = judge(curve(lambda step: 400 - 50 * 0.97**step))
    assert found.flat and found.growth < 0.005
    assert found.begin == pytest.approx(400, abs=1) and found.end == pytest.approx(400, abs=1)


@pytest.mark.parametrize(
    ("size", "growth"),
    [
        (lambda step: 400 + 0.01 * step, 0.0473),  # 10 kB a step: 1,900 steps from the first window to the last
        (lambda step: 400 + 20 * (step > 2000), 0.05),
        (lambda step: 400 + (20 if 1000 < step <= 1200 else 0), 0.05),  # also if it comes back
        (lambda step: 400 - 40 * (step > 500) + 20 * (step > 2000), 0.05),  # grows from where it had fallen to
    ],
)
def test_growth_is_found(size: Callable[[int], float], growth: float) -> None:
    found = judge(curve(size))
    assert not found.flat and found.growth == pytest.approx(growth, abs=0.002)


def test_falling_is_no_leak() -> None:
    assert judge(curve(lambda step: 400 - 0.02 * step)).flat


def test_too_few_readings() -> None:
    user_error(lambda: judge([(SETTLED + WINDOW, 1.0)]), "1 windows of 100 steps", "expected 2 or more")


@pytest.mark.parametrize("leaked", [0, 2**17])
def test_a_framework_that_keeps_something_of_every_step(
    leaked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(frameworks.ADAPTERS, "leaking", "experiments.tests.leaking")
    monkeypatch.setenv("LEAKED_BYTES", str(leaked))
    for name, value in {"IMAGES": 40, "SETTLED": 40, "WINDOW": 20}.items():
        monkeypatch.setattr(memory, name, value)
    assert main(["--frameworks", "leaking", "--steps", "150", "--out", str(tmp_path)]) == (1 if leaked else 0)
    worker, loop, _ = capsys.readouterr().out.splitlines()[-3:]
    assert ("NOT FLAT" in worker) == bool(leaked) and "NOT FLAT" not in loop
    session, *readings = rows(tmp_path / RECORDS)
    assert session["kind"] == "session" and session["spec"]["name"] == "tiny"
    steps = [each["step"] for each in readings if each["curve"] == "leaking"]
    assert steps == list(range(5, 151, 5)) and len(readings) == 2 * len(steps)


def test_a_size_that_cannot_be_read() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    user_error(lambda: resident_mb(process.pid), f"/proc/{process.pid}/status has no VmRSS")


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat, leak = curve(lambda step: 400), curve(lambda step: 90 + 0.01 * step)
    assert report({"torch": flat, "runner, torch": flat}, "tiny", tmp_path) == 0
    assert report({"torch": flat, "runner, torch": leak}, "tiny", tmp_path) == 1
    *_, first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("process of PyTorch: 400.") and "NOT FLAT" not in first
    assert second.startswith("process of the loop, training PyTorch: 92.") and second.endswith("2%: NOT FLAT")
    assert (tmp_path / FIGURE).stat().st_size > 10_000


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--steps", "300"]) == 2
    said_error(capsys, "--steps is 300", "expected 400 or more")
    assert main(["--frameworks", "torhc"]) == 2
    said_error(capsys, "torhc", "torch")
    (tmp_path / "memory.jsonl").touch()
    assert main(["--out", str(tmp_path)]) == 2
    said_error(capsys, "holds a measurement already")
