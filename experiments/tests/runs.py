"""Runs of the main command in this process, small enough for a test."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.run import main
from experiments.runs import stepper
from experiments.tests.steppers import CountingStepper, opener

Records = list[dict[str, Any]]
TORCH = ("--frameworks", "torch", "--in-process")


def run(root: Path, out: Path, *others: str, subset: int = 5, epochs: int = 2) -> int:
    """``experiments/run.py`` with the preset tiny on 64 px; returns its exit status."""
    options = ["--preset", "tiny", "--subset", str(subset), "--data", str(root), "--out", str(out)]
    return main([*options, "--epochs", str(epochs), "--image-size", "64", "--batch-size", "2", *others])


def resume(out: Path) -> int:
    return main(["--resume", str(out)])


def counting(monkeypatch: pytest.MonkeyPatch, **steppers: CountingStepper) -> None:
    """Let these stand in for the frameworks of their names."""
    monkeypatch.setattr(stepper, "open_framework", opener(steppers))


def rows(path: Path) -> Records:
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps(out: Path, framework: str = "torch") -> Records:
    """The step records without what a clock says."""
    return [{key: each[key] for key in each if key != "seconds"} for each in rows(out / framework / "steps.jsonl")]


def meta(out: Path) -> dict[str, Any]:
    return json.loads((out / "run.json").read_text())


def said_error(capsys: pytest.CaptureFixture[str], *fragments: object) -> None:
    """Check that the last thing on standard error is one line ``error: ...`` with every fragment."""
    text = capsys.readouterr().err
    assert "Traceback" not in text
    line = text.rstrip("\n").split("\n")[-1]
    assert line.startswith("error: "), text
    for fragment in fragments:
        assert str(fragment) in line, f"{fragment} is not in: {line}"
