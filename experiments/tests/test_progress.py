"""Nobody is left wondering whether a run still lives."""

import time
from pathlib import Path

import pytest

from experiments import progress
from experiments.progress import Progress
from experiments.runs.worker_log import WorkerLog


def test_a_log_gets_a_line_about_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "TICK_S", 0.01)
    with Progress("jittor epoch 1/6", 10, "step", waiting="first step: compiling kernels") as bar:
        time.sleep(0.05)
        bar.advance(1, "loss 3.100", waiting="next step")
        time.sleep(0.05)
    lines = capsys.readouterr().err.splitlines()
    assert "jittor epoch 1/6, step 0/10: first step: compiling kernels, 0 s" in lines
    assert "jittor epoch 1/6, step 1/10: loss 3.100, next step, 0 s" in lines


def test_a_worker_is_heard_line_by_line_and_kept_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = WorkerLog(tmp_path, "jittor")
    for piece in ("Compiling 1/9\rCompiling 2/", "9\rCompiling 9/9\nwarn", "ing\n\nunfinished"):
        log(piece)
    assert capsys.readouterr().err.splitlines() == ["  jittor: Compiling 9/9", "  jittor: warning"]
    assert (tmp_path / "stderr.log").read_bytes().endswith(b"warning\n\nunfinished")


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    WorkerLog(tmp_path / "absent", "jittor")("text\n")
