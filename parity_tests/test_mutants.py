"""The catalogue of planted faults fits the code, and its runner counts rightly and goes on where it was stopped."""

import ast
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import frameworks
from frameworks.judge.compare import relative_error
from frameworks.judge.record import Record, Recorder
from frameworks.shared.stages import stage_of
from frameworks.shared.tolerances import PUBLISHED
from parity_tests import agreement, traces
from parity_tests.agreement import DTYPES
from parity_tests.mutants.catalogue import ROOT, Mutant, read_catalogue
from parity_tests.mutants.examination import Plugin
from parity_tests.mutants.runner import Runner, finished
from parity_tests.mutants.stages import STAGES, UNIT, stage_of_test, stages_for
from parity_tests.mutants.weak_checks import weak_checks
from parity_tests.mutants.workspace import key_of, workspace
from reports.jsonl import read_lines
from reports.record_writer import append_all

CATALOGUE = read_catalogue()
FLIP = next(m for m in CATALOGUE if m.name == "flip leaves the boxes where they are")


def test_every_fault_fits_once_and_the_file_still_parses():
    problems = []
    for mutant in CATALOGUE:
        try:
            text = mutant.patched((ROOT / mutant.file).read_text("utf-8"))
            if mutant.file.endswith(".py"):
                ast.parse(text)
        except (OSError, SyntaxError, ValueError) as error:
            problems.append(f"{mutant}: {error}")
    assert not problems, "\n".join(problems)


def test_a_text_that_occurs_twice_is_refused():
    with pytest.raises(ValueError, match="2 places"):
        replace(FLIP, find="a").patched("aa")
    with pytest.raises(ValueError, match="0 places"):
        FLIP.patched("")


def test_no_fault_is_listed_twice():
    patches = Counter((m.file, m.find, m.replace) for m in CATALOGUE)
    names = Counter((m.area, m.name, m.planted_in) for m in CATALOGUE)
    assert not [twice for count in (patches, names) for twice, n in count.items() if n > 1]


def test_both_twins_have_faults_of_every_kind():
    kinds = {place: {(m.area, m.name) for m in CATALOGUE if m.planted_in == place} for place in ("torch", "jittor")}
    assert min(map(len, kinds.values())) >= 250
    assert {m.planted_in for m in CATALOGUE} == {"torch", "jittor", "shared"}


@pytest.mark.parametrize(
    ("node", "stage"),
    [
        ("parity_tests/test_model.py::test_training[cpu-float64-tiny]", "training pass"),
        ("parity_tests/test_model.py::test_training[cpu-float32-tiny]", "small models"),
        ("parity_tests/test_model.py::test_training[cpu-float64-rtdetr_r18vd]", "all others"),
        ("parity_tests/test_losses.py::test_terms_against_loops[tiny_giou]", "truth"),
        ("parity_tests/test_oracle.py::test_evaluation[torch-rtdetr_r18vd-eval_sq]", "oracle"),
        ("parity_tests/test_something_new.py::test_it", "all others"),
        ("experiments/tests/test_images.py::test_it", UNIT),
    ],
)
def test_stage_of_a_test(node: str, stage: str):
    assert stage_of_test(node) == stage
    assert stage in (*STAGES, UNIT)


def test_the_likeliest_stage_comes_first():
    assert stages_for("ema", "decay", "steps")[:2] == ("optimizer", "training pass")
    for area in ("ema", "decoder"):
        assert stages_for(area, "", "evaluation") == ("training pass", "evaluation")
    assert stages_for("attention", "formula: corners", "all others")[0] == "other kernels"
    assert set(stages_for("deploy", "", "all others")) == set(STAGES)
    assert stages_for("data", "", "evaluation") == (f"{UNIT}: data",)


def test_a_fault_is_killed_an_equivalent_one_reported_and_nothing_asked_twice(tmp_path):
    """A fault in data, since unit tests find it in seconds."""
    equivalent = replace(FLIP, name="no change", replace=FLIP.find, equivalent="it replaces a text by itself")
    results, asked = tmp_path / "results.jsonl", Runner(tmp_path / "results.jsonl", tmp_path / "traces")
    with (
        workspace() as tree,
    ):
        asked.run([FLIP, equivalent], tree)
        killed, same = read_lines(results)[0]
        asked.run([FLIP, equivalent], tree)
        assert (tree.path / FLIP.file).read_text("utf-8") == (ROOT / FLIP.file).read_text("utf-8")
    assert (killed["status"], killed["stage"]) == ("killed", f"{UNIT}: data"), killed
    assert "test_images.py" in killed["test"]
    assert (same["status"], same["equivalent"]) == ("equivalent", equivalent.equivalent)
    assert len(read_lines(results)[0]) == 2


def test_results_go_on_after_a_line_that_was_cut_off(tmp_path):
    results = tmp_path / "results.jsonl"
    append_all(results, [{"key": "a", "status": "killed", "searched": True}])
    with results.open("a") as file:
        file.write('{"key": "b", "sta')
    assert finished(results, "evaluation") == {"a"}
    append_all(results, [{"key": "c", "status": "equivalent"}])
    assert finished(results, "evaluation") == {"a", "c"}


def test_a_survivor_is_asked_again_when_more_stages_are_wanted(tmp_path):
    results = tmp_path / "results.jsonl"
    append_all(results, [{"key": "a", "status": "survived", "until": "evaluation"}])
    append_all(results, [{"key": "b", "status": "error", "until": "evaluation"}])
    append_all(results, [{"key": "c", "status": "survived", "until": UNIT}])
    assert finished(results, "training pass") == {"a", "c"}
    assert finished(results, "evaluation") == {"a", "c"}
    assert finished(results, "modules") == {"c"}


def test_a_fault_without_a_culprit_is_asked_again_when_one_is_wanted(tmp_path):
    results = tmp_path / "results.jsonl"
    append_all(results, [{"key": "a", "status": "killed", "searched": False}])
    assert finished(results, "modules", search=False) == {"a"}
    assert not finished(results, "modules", search=True)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda a: a * (1 + 1e-6), set()),
        (lambda a: a * (1 + 1e-4), {"published bounds"}),
        (lambda a: a * 1.01, {"published bounds", "mean difference"}),
        (lambda a: a[::-1], {"published bounds"}),  # the same mean, and nowhere farther than the value itself
        (lambda a: -a, {"published bounds", "mean difference", "allclose, rtol 1"}),
        (lambda a: a[1:], {"published bounds", "mean difference", "allclose, rtol 1"}),
    ],
)
def test_what_weaker_checks_see(change, seen: set[str]):
    truth = {"forward/pred_logits": np.array([1.0, 1.5, 2.0])}
    candidate = {name: change(array) for name, array in truth.items()}
    found = weak_checks(candidate, truth, PUBLISHED, stage_of, relative_error)
    assert {check for check, fails in found.items() if fails} == seen


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_traces_of_a_failing_comparison_are_handed_to_the_weaker_checks(dtype, tmp_path, monkeypatch):
    """The plugin listens to the real assertions; a change of their form must not pass unseen."""
    for name in ("assert_same_function", "assert_same_arithmetic", "first_divergence"):
        monkeypatch.setattr(agreement, name, getattr(agreement, name))  # restored after the test
    monkeypatch.setattr(traces.Workers, "get", traces.Workers.get)
    plugin = Plugin("torch", "training pass", tmp_path, tmp_path, search=False)
    plugin.pytest_configure()
    truth = {"forward/pred_logits": np.array([1.0, 1.5, 2.0])}
    outputs = {name: {"forward/pred_logits": np.array([-1.0, 1.5, 2.0])} for name in frameworks.ADAPTERS}
    record = Record(Recorder(tmp_path / "records.jsonl"), "tiny", "evaluation", dtype, "cpu")
    try:
        with pytest.raises(AssertionError, match="pred_logits"):
            agreement.assert_agreement(outputs, truth, record)
    finally:
        del agreement.examined  # pyright: ignore[reportAttributeAccessIssue]
    assert plugin.last == (outputs, truth)
    assert plugin._weak() == {"published bounds": True, "mean difference": True, "allclose, rtol 1": True}


def test_a_result_is_one_of_this_patch_in_this_code():
    keys = {key_of(FLIP, "code"), key_of(FLIP, "other"), key_of(replace(FLIP, replace="x"), "code")}
    assert len(keys) == 3
    assert FLIP.blames("data") and not FLIP.blames("decoder")
    assert isinstance(FLIP, Mutant)
