"""A lockstep session of the tiny preset: inside the envelope, faults leave it, and it goes on after a kill."""

from pathlib import Path

import numpy as np
import pytest

from experiments.lockstep import session as lockstep
from experiments.lockstep.__main__ import main
from experiments.lockstep.faults import FAULTS
from experiments.lockstep.plan import Plan, run_keys
from experiments.runs.control import moved_weights
from experiments.tests.data_sets import shapes
from frameworks.state.initialisation import initial_weights
from frameworks.state.parameters import trainable_names
from reports.jsonl import read_lines
from reports.lockstep.envelope import judged
from reports.lockstep.records import BASE, FAULT, PERTURBED, RECORDS, read

STEPS, RUNS = 2, 2 + 2 * 3 + 7


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A session of float64 with an envelope of three runs of each framework, on drawn shapes."""
    folder = tmp_path_factory.mktemp("lockstep")
    data = str(shapes(folder, train=100, val=1))
    options = {"preset": "tiny", "steps": STEPS, "perturbed": 3, "size": 96, "warm": 1, "dtypes": "float64"}
    return [f"--{name}={value}" for name, value in (options | {"data": data, "out": folder / "out"}).items()]


def test_the_session(arguments, capsys):
    """Jittor parts from PyTorch no faster than each from itself, every planted fault shows at once."""
    assert main(arguments) == 0
    assert "lockstep.md" in capsys.readouterr().out
    path = Path(arguments[-1].partition("=")[2]) / RECORDS
    base, *faults = judged(read(path))
    assert base.run.framework == "jittor" and base.left is None and base.margin < 1e-3
    assert {result.run.which: result.left for result in faults} == {fault.stage: 1 for fault in FAULTS}
    before = path.read_bytes()
    assert len(read_lines(path)[0]) == 1 + RUNS * STEPS
    path.write_bytes(before[:-50])  # killed while the last run was written
    assert main(arguments) == 0
    assert len(read_lines(path)[0]) == 1 + RUNS * STEPS
    whole = before.splitlines()[:-STEPS]
    assert path.read_bytes().splitlines()[: len(whole)] == whole  # nothing else was run again


def test_another_plan_needs_another_folder(arguments, capsys):
    assert main([*arguments, "--steps=4"]) == 2
    assert "--out" in capsys.readouterr().err


def test_the_runs_of_a_plan():
    keys = run_keys(Plan(perturbed=10), "float32")
    counts = {kind: sum(key.kind == kind for key in keys) for kind in (BASE, PERTURBED, FAULT)}
    assert counts == {BASE: 2, PERTURBED: 20, FAULT: 7}
    assert [key.kind for key in keys[:2]] == [BASE, BASE]  # the others are measured against them


def test_perturbed_weights_are_one_unit_in_the_last_place_away():
    spec = Plan(preset="tiny").spec()
    weights = initial_weights(spec.model, 0)
    moved, other = (moved_weights(weights, trainable_names(spec.model), 0, which) for which in ("0", "1"))
    for name in trainable_names(spec.model):
        change = np.abs(moved[name].astype(np.float64) - weights[name].astype(np.float64))
        unit = np.spacing(np.abs(weights[name]))
        assert (change > 0).all() and (change <= unit).all()
    assert any((moved[name] != other[name]).any() for name in weights)
    assert all(name in trainable_names(spec.model) or moved[name] is weights[name] for name in weights)


def test_distances_are_those_of_the_changes():
    start, base = np.zeros(2), np.array([[[3.0, 4.0], [0.0, 1.0]]])
    (found,) = lockstep.distances(base + 0.5, base, start, start)
    assert found == {
        "parameters": pytest.approx(np.hypot(0.5, 0.5) / 5),
        "average": pytest.approx(np.hypot(0.5, 0.5)),
    }
    (found,) = lockstep.distances(base + 0.5, base, start + 0.5, start)
    assert found == {"parameters": 0.0, "average": 0.0}
