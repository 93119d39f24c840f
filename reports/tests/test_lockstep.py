"""The envelope and the page of a lockstep session, from records made by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frameworks.shared.tolerances import FLOAT32_FLOOR
from reports.lockstep.__main__ import main
from reports.lockstep.envelope import SLACK, edge, growth, judged, needed_slack
from reports.lockstep.records import FAULT_STEPS, RECORDS, read

STEPS, GROWTH = 12, 3.0


def lines(framework: str, kind: str, which: str = "", apart: float = 0.0, factor: float = GROWTH) -> list[dict]:
    """A run that is ``apart`` from its base at step 1 and ``factor`` times as far with every step."""
    key = {"framework": framework, "dtype": "float64", "kind": kind, "which": which}
    run = []
    for step in range(STEPS):
        distance = apart * factor**step
        numbers = {"loss": 2.0 * (1 + distance), "gradient_norm": 4.0 * (1 + distance)}
        run.append(key | numbers | {"step": step + 1, "parameters": distance, "average": distance})
    return run


def write(folder: Path, jittor: float = 1e-9, fault: float = 1e-3) -> Path:
    plan = {"preset": "tiny", "steps": STEPS, "size": 96, "batch": 2, "warm": 1, "perturbed": 3}
    session = {"kind": "session", "plan": plan, "data": "drawn shapes", "date": "today", "host": {"cpu": "one"}}
    records = [session, *lines("torch", "base"), *lines("jittor", "base", apart=jittor)]
    for number in range(3):
        for framework in ("torch", "jittor"):
            base = lines(framework, "base", apart=jittor if framework == "jittor" else 0.0)
            moved = lines(framework, "perturbed", str(number), apart=(number + 1) * 1e-8)
            for mine, theirs in zip(moved, base, strict=True):  # measured against the framework's own base
                mine["loss"] *= theirs["loss"] / 2.0
                mine["gradient_norm"] *= theirs["gradient_norm"] / 4.0
            records += moved
    records += lines("torch", "fault", "loss", apart=fault)[:FAULT_STEPS]
    folder.mkdir(exist_ok=True)
    (folder / RECORDS).write_text("".join(f"{json.dumps(line)}\n" for line in records))
    return folder / RECORDS


def test_inside_and_a_fault_that_leaves(tmp_path, capsys):
    path = write(tmp_path)
    base, fault = judged(read(path))
    assert base.passed and base.left is None and base.margin == pytest.approx(1e-9 / (SLACK * 3e-8), rel=1e-3)
    assert fault.passed and fault.left == 1
    assert main([str(path), str(tmp_path)]) == 0
    page = (tmp_path / "lockstep.md").read_text()
    assert "no faster than a framework from itself" in page and "1 of 1 planted faults leave" in page
    assert (tmp_path / "lockstep.png").stat().st_size > 10_000


def test_outside_fails(tmp_path):
    path = write(tmp_path, jittor=1e-6)
    base, _ = judged(read(path))
    assert not base.passed and base.left == 1 and "FAILED" in base.sentence
    assert main([str(path), str(tmp_path)]) == 1
    assert "**leaves the envelope**" in (tmp_path / "lockstep.md").read_text()


def test_a_fault_that_stays_inside_fails(tmp_path):
    path = write(tmp_path, fault=1e-8)
    assert [result.passed for result in judged(read(path))] == [True, False]
    assert main([str(path), str(tmp_path)]) == 1
    assert "NOT SEEN" in (tmp_path / "lockstep.md").read_text()


def test_nan_is_outside(tmp_path):
    path = write(tmp_path, jittor=float("nan"))
    assert not judged(read(path))[0].passed


def test_growth_and_slack(tmp_path):
    perturbed = read(write(tmp_path)).of("float64", "perturbed")
    assert growth(perturbed[0].curves) == pytest.approx(GROWTH)
    assert growth({"parameters": np.zeros(5)}) == 1.0
    assert needed_slack(perturbed) == pytest.approx(1.0, rel=1e-6)  # two runs of each size, one of each framework


def test_the_resolution_of_float32_is_inside(tmp_path):
    perturbed = read(write(tmp_path)).of("float64", "perturbed")
    equal = [replace(run, curves={"loss": np.zeros(STEPS)}) for run in perturbed]
    assert (edge(equal, "loss") == 0).all()
    assert (edge([replace(run, dtype="float32") for run in equal], "loss") == SLACK * FLOAT32_FLOOR).all()


def test_records_without_a_session(tmp_path, capsys):
    (tmp_path / RECORDS).write_text("")
    assert main([str(tmp_path / RECORDS), str(tmp_path)]) == 2
    assert "no lockstep session" in capsys.readouterr().err


def test_records_without_an_envelope(tmp_path, capsys):
    path = write(tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[: 1 + 2 * STEPS]))
    assert main([str(path), str(tmp_path)]) == 2
    assert "no perturbed run is whole" in capsys.readouterr().err
