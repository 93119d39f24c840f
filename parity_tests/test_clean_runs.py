"""The session of clean runs: it draws different valid models, goes on after a kill, and reports what differs."""

import json
from dataclasses import replace

import pytest

from frameworks.config import spec_hash
from parity_tests.cases import subjects
from parity_tests.clean_runs import __main__ as session
from parity_tests.clean_runs import judging
from parity_tests.clean_runs.specs import structure
from parity_tests.traces import Traces

TENSOR = "gradient/decoder.dec_score_head.0.weight"


def test_structures_are_different_and_the_same_every_time():
    drawn = [structure(number) for number in range(8)]
    assert len({spec_hash(replace(spec, name="")) for spec in drawn}) == 8
    assert len({spec.model.backbone.kind for spec in drawn}) > 1
    structure.cache_clear()
    assert [structure(number) for number in range(8)] == drawn


def test_a_run_has_seed_sizes_and_objects_of_its_own():
    first, second = judging.drawn(3), judging.drawn(3 + judging.STRUCTURES)
    assert first.spec == second.spec and first.seed != second.seed
    assert first == judging.drawn(3)
    assert any(sum(judging.drawn(number).counts) == 0 for number in range(0, 40 * judging.STRUCTURES, 60))


def test_a_clean_run_passes_and_a_fault_fails(monkeypatch, traces: Traces):
    monkeypatch.setattr(judging, "drawn", lambda number: subjects.subject("tiny"))
    record = judging.run(0, traces.workers)
    assert record["failed"] == 0 and record["failures"] == []
    assert record["worst"]["float64"]["backward"]["margin"] < 1 and record["tensors"]["float32"] > 500
    original = Traces.run

    def faulty(self, case, subject, inputs, framework, dtype, device):
        trace = original(self, case, subject, inputs, framework, dtype, device)
        return trace | {TENSOR: 1.01 * trace[TENSOR]} if framework == "jittor" else trace

    monkeypatch.setattr(Traces, "run", faulty)
    monkeypatch.setattr(judging, "MOVES", 2)
    record = judging.run(0, traces.workers)
    assert record["failed"] == 2 and all(TENSOR in failure for failure in record["failures"])  # in both precisions
    assert record["worst"]["float64"]["backward"]["tensor"] == TENSOR


def test_what_the_truth_itself_does_not_determine_is_no_failure(monkeypatch, traces: Traces):
    """An error as large as what rounding does to the truth is counted apart; ten times as much is a failure."""
    monkeypatch.setattr(judging, "MOVES", 2)
    subject = subjects.subject("tiny")
    limits = judging.undetermined(subject, "float64", {TENSOR: 1e-300, "loss/vfl": 1.0}, traces)
    assert limits.keys() == {TENSOR} and 1e-16 < limits[TENSOR] < 1e-11
    change = limits[TENSOR]
    assert judging.undetermined(subject, "float64", {TENSOR: 9.9 * change}, traces) == limits
    assert judging.undetermined(subject, "float64", {TENSOR: 10.1 * change}, traces) == {}
    assert judging.undetermined(subject, "float64", {TENSOR: float("nan")}, traces) == {}


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """The numbers of the runs that the session asks for, none of which is carried out."""
    asked: list[int] = []

    def run(number: int, workers: object) -> dict:
        asked.append(number)
        if number == 3 and asked.count(3) == 1:
            raise KeyboardInterrupt
        facts = {"structure": 0, "kind": "presnet", "version": "v1", "counts": [1], "size_hw": [64, 64]}
        worst = {"float64": {"losses": {"margin": 0.5, "tensor": "loss/vfl", "framework": "jittor"}}}
        failures = ["jittor: wrong"] if number == 2 else []
        found = {"failed": len(failures), "failures": failures, "worst": worst, "tensors": {"float64": 7}}
        return {"run": number, **facts, **found, "seconds": 1.0}

    monkeypatch.setattr(session, "run", run)
    return asked


def test_a_killed_session_goes_on(counted, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        session.main(["--runs", "5", "--out", str(tmp_path)])
    records = tmp_path / session.RECORDS
    records.write_bytes(records.read_bytes()[:-20])  # the last line was cut off while being written
    assert session.main(["--runs", "5", "--out", str(tmp_path)]) == 1
    assert counted == [0, 1, 2, 3, 2, 3, 4]
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    assert [line["run"] for line in lines] == [0, 1, 2, 3, 4]
    assert "--run 2" in capsys.readouterr().out
    page = (tmp_path / "clean_runs.md").read_text()
    assert (
        "5 clean runs" in page
        and "35 tensors compared" in page
        and "**1 run failed**" in page
        and "jittor: wrong" in page
    )
