"""Runs that are killed at random moments, resumed, killed again, and equal the uninterrupted run in every bit.

For `nox -s resume`, because it takes minutes: pytest collects this file only when it is named. Each framework's run
is killed KILLS times, by SIGKILL, at moments drawn from a seed; every third time only its worker is killed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.runs.host import ROOT
from experiments.tests.data_sets import shapes
from experiments.tests.runs import rows
from frameworks import ADAPTERS
from frameworks.arrays import load_arrays
from reports.run import files
from reports.run.records import read_run

KILLS = int(os.environ.get("TWIN_DETR_KILLS", "20"))
EPOCHS, STEPS_PER_EPOCH = 24, 3
CLOCKS = {"seconds", "kernels_compiled", "compile_seconds", "first_step_seconds", "peak_memory_mb"}
PATIENCE_S = 600.0  # for a first start, which compiles


def start(*arguments: str) -> subprocess.Popen[bytes]:
    door = [sys.executable, str(ROOT / "experiments" / "train.py")]
    return subprocess.Popen([*door, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def new_run(root: Path, out: Path, framework: str) -> tuple[str, ...]:
    model = ("--framework", framework, "--config", "tiny", "--image-size", "64", "--batch-size", "2")
    model = (*model, "--epochs", str(EPOCHS))
    monitoring = ("--checkpoint-minutes", "0.01", "--validate-every", "3", "--keep-every", "4")
    return (*model, *monitoring, "--data", str(root), "--out", str(out))


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill(process: subprocess.Popen[bytes], *, worker_alone: bool) -> None:
    """Kill the run, or its worker, after which it records a failure and ends."""
    if not worker_alone:
        process.kill()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if worker_alone and children.exists():
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
    process.wait(PATIENCE_S)


def kill_at(process: subprocess.Popen[bytes], steps: Path, count: int, delay: float, *, worker_alone: bool) -> bool:
    """Kill a while after so many steps are recorded; False if the run was over before."""
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None and lines(steps) < count:
        assert time.monotonic() < end, f"no step {count} within {PATIENCE_S} s"
        time.sleep(0.002)
    time.sleep(delay)
    if process.poll() is not None:
        return False
    kill(process, worker_alone=worker_alone)
    return True


def without_clocks(path: Path) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row.keys() - CLOCKS} for row in rows(path)]


def assert_same(one: Path, other: Path) -> None:
    for name in (files.STEPS, files.EPOCHS, files.EVALUATION):
        assert without_clocks(one / name) == without_clocks(other / name), name
    checkpoints = sorted(path.name for path in other.glob("*.safetensors"))
    assert checkpoints == sorted(path.name for path in one.glob("*.safetensors"))
    for name in checkpoints:
        states = load_arrays(one / name), load_arrays(other / name)
        assert states[0].keys() == states[1].keys()
        differ = [key for key, array in states[0].items() if not np.array_equal(array, states[1][key])]
        assert not differ, f"{name}: {len(differ)} arrays differ, first {differ[:3]}"
    for name in map(files.predictions, ("train", "val")):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("framework", tuple(ADAPTERS))
def test_a_run_killed_again_and_again(framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = shapes(tmp_path, train=2 * STEPS_PER_EPOCH, val=3)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    assert start(*new_run(root, whole, framework)).wait(PATIENCE_S) == 0
    print(f"{framework}: whole run in {time.monotonic() - began:.0f} s")

    draw, total = random.Random(f"kill {framework}"), EPOCHS * STEPS_PER_EPOCH
    moments = sorted(draw.randrange(total) for _ in range(KILLS))
    arguments = new_run(root, killed, framework)
    done = 0
    for number, moment in enumerate(moments):
        process = start(*arguments)
        delay = draw.uniform(0, 0.3)
        if kill_at(process, killed / framework / files.STEPS, moment, delay, worker_alone=number % 3 == 2):
            done += 1
            print(f"{framework}: killed at step {moment} + {delay:.3f} s")
        if (killed / files.META).exists():
            arguments = ("--resume", str(killed))
    assert start(*arguments).wait(PATIENCE_S) == 0
    assert done >= min(KILLS, 20), f"the run was over after {done} kills"
    assert_same(killed / framework, whole / framework)
    assert read_run(killed).complete
