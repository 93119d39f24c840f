"""The operator atlas: every verdict can be reached, the truth knows kinks, published pages are their records."""

import re
from pathlib import Path

import numpy as np
import pytest

from parity_tests.operators.catalogue import OPERATORS, described
from parity_tests.operators.child import AT_ONCE
from parity_tests.operators.frameworks import in_torch
from parity_tests.operators.judging import against_truth, judged
from parity_tests.operators.operator import Operator
from parity_tests.operators.process import JittorProcess
from parity_tests.operators.truth import Expected, expected_gradients, expected_outputs
from reports.operators import __main__ as publishing
from reports.operators.api import API, api_page
from reports.operators.page import PAGE, atlas, kind
from reports.operators.records import (
    BOTH_OFF,
    CRASHES,
    DIFFERS,
    HANGS,
    MISSING,
    OFF_ALIKE,
    OTHER_CHOICE,
    RAISES,
    SAME,
    TORCH_OFF,
    Case,
    Examined,
    examined,
)

ROOT = Path(__file__).resolve().parents[1]
DEFECTS = ROOT / "docs/jittor_defects"
TRUTH = np.asarray([1.0, -2.0, 4.0])


def expected(low: np.ndarray, high: np.ndarray | None = None, told: bool = True) -> list[Expected]:
    return [Expected(low, low if high is None else high, np.full(low.shape, told), 0.0)]


def word(torch_says: np.ndarray, jittor_says: np.ndarray, truth: list[Expected]) -> str:
    return judged([torch_says], [jittor_says], truth, str(torch_says.dtype))["verdict"]


OFF = TRUTH * np.asarray([1, 1, 1 + 1e-9])


@pytest.mark.parametrize(
    ("torch_says", "jittor_says", "verdict"),
    [
        (TRUTH, TRUTH * (1 + 2**-52), SAME),
        (TRUTH, OFF, DIFFERS),
        (OFF, TRUTH, TORCH_OFF),
        (OFF, OFF, OFF_ALIKE),
        (OFF, -TRUTH, BOTH_OFF),
        (TRUTH, np.asarray([1.0, np.nan, 4.0]), DIFFERS),
        (TRUTH, TRUTH[:2], DIFFERS),
        (TRUTH, TRUTH.astype(np.float32), DIFFERS),
    ],
)
def test_verdicts_on_numbers(torch_says, jittor_says, verdict):
    assert word(torch_says, jittor_says, expected(TRUTH)) == verdict


def test_a_choice_within_the_slopes_is_another_choice_and_one_outside_is_wrong():
    slopes = expected(np.asarray([-1.0]), np.asarray([1.0]))
    assert word(np.zeros(1), np.ones(1), slopes) == OTHER_CHOICE
    assert word(np.zeros(1), np.zeros(1), slopes) == SAME
    assert word(np.zeros(1), np.full(1, 1.5), slopes) == DIFFERS


def test_where_there_is_no_truth_frameworks_are_compared_with_each_other():
    untold = expected(np.asarray([np.nan, 1.0]), told=False)
    assert word(np.asarray([np.inf, 3.0]), np.asarray([np.inf, 3.0]), untold) == SAME
    assert word(np.asarray([np.inf, 3.0]), np.asarray([0.0, 3.0]), untold) == OTHER_CHOICE


def test_infinities_and_integers_are_exact():
    assert (
        word(np.asarray([np.inf, 1.0]), np.asarray([-np.inf, 1.0]), expected(np.asarray([np.inf, 1.0]))) == DIFFERS
    )
    whole = np.asarray([10**9, 1])
    assert not against_truth([whole + np.asarray([1, 0])], expected(whole), "float32").right
    assert against_truth([whole.astype(np.int32)], expected(whole), "float32").right


def made(truth, name="made", **more) -> Operator:
    inputs = {"x": (np.asarray([-1.5, 0.0, 2.0]),)}
    return Operator(name, truth, torch=lambda x: x, jittor=lambda jt, x: x, inputs=inputs, **more)


def test_the_truth_of_a_gradient_is_exact_and_knows_kinks_jumps_and_forbidden_inputs():
    weights = np.asarray(expected_gradients(made(lambda x: x), "x", "float64")[0].low)
    (smooth,) = expected_gradients(made(lambda x: np.exp(x)), "x", "float64")
    assert smooth.told.all() and smooth.slack < 1e-12
    np.testing.assert_allclose(smooth.low, weights * np.exp([-1.5, 0.0, 2.0]), rtol=1e-12)
    (kink,) = expected_gradients(made(lambda x: np.abs(x)), "x", "float64")
    assert sorted((kink.low[1], kink.high[1])) == pytest.approx(sorted((-weights[1], weights[1])), rel=1e-9)
    (jump,) = expected_gradients(made(lambda x: np.floor(x)), "x", "float64")
    assert jump.told.tolist() == [True, False, False]
    (forbidden,) = expected_gradients(made(lambda x: np.sqrt(x)), "x", "float64")
    assert forbidden.told.tolist() == [False, False, True]


def test_rounding_the_inputs_widens_the_limit():
    far = Operator(
        "centred",
        truth=lambda x: x - x.mean(),
        torch=lambda x: x - x.mean(),
        jittor=lambda jt, x: x,
        inputs={"near": (np.asarray([-1.0, 0.25, 1.0]),), "far": (np.asarray([-1.0, 0.25, 1.0]) + 300,)},
    )
    near, wide = (expected_outputs(far, label, "float32")[0].slack for label in ("near", "far"))
    assert 50 * near < wide < 1e-4


SAMPLE = ("gelu", "log", "maximum", "softmax", "cat", "gather", "topk", "matmul", "mse_loss", "layer_norm")


@pytest.mark.parametrize("operator", [one for one in OPERATORS if one.name in SAMPLE], ids=lambda one: one.name)
def test_pytorch_agrees_with_the_truth(operator):
    """A sample of the families; the session asks all."""
    answer = in_torch(operator, "ordinary", "float64")
    assert against_truth(answer["outputs"], expected_outputs(operator, "ordinary", "float64"), "float64").right
    assert against_truth(answer["gradients"], expected_gradients(operator, "ordinary", "float64"), "float64").right


def test_the_catalogue_says_what_it_calls_and_names_files_that_exist():
    assert len({one.name for one in OPERATORS}) == len(OPERATORS)
    for entry in described():
        assert {"torch", "jittor"} <= entry["calls"].keys() and all(entry["calls"].values())
        assert not entry["twin"] or (ROOT / "frameworks/jittor_rtdetr" / entry["twin"]).is_file(), entry
        assert not entry["defect"] or (DEFECTS / f"{entry['defect']}.py").is_file(), entry


def test_a_table_shows_the_code_that_runs():
    (relu,) = [entry for entry in described() if entry["entry"] == "relu"]
    assert relu["calls"] == {"torch": "F.relu(x)", "jittor": "jt.nn.relu(x)"}


CHILD = """
import base64, os, pickle, signal, sys, time
pipe = os.fdopen(int(sys.argv[1]), "w")
print("ready", file=pipe, flush=True)
for line in sys.stdin:
    if "crash" in line:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in line:
        time.sleep(60)
    answer = {"errors": {"outputs": ["ValueError", "no"]}} if "raise" in line else {"outputs": []}
    print(base64.b64encode(pickle.dumps(answer)).decode(), file=pipe, flush=True)
"""


def test_crashes_and_hangs_of_the_child_are_answers(tmp_path, monkeypatch):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    monkeypatch.setattr("parity_tests.operators.process.ARGUMENTS", (str(script),))
    monkeypatch.setattr("parity_tests.operators.process.ANSWERS_S", 0.5)
    with JittorProcess() as jittor:
        assert jittor.ask("good", "jittor", "x", "float32") == {"outputs": []}
        assert jittor.ask("crash", "jittor", "x", "float32") == {"ended": CRASHES, "how": "SIGSEGV"}
        assert jittor.ask("hang", "jittor", "x", "float32")["ended"] == HANGS
        assert "errors" in jittor.ask("raise", "jittor", "x", "float32")
        assert jittor.process is None and "ValueError" not in AT_ONCE  # another child answers the next
        assert jittor.ask("good", "jittor", "x", "float32") == {"outputs": []}


def case(verdict: str, inputs: str = "ordinary", dtype: str = "float32", error: float | None = None) -> Case:
    return Case(inputs, dtype, "forward", {"verdict": verdict, "jittor": error})


def test_the_worst_case_is_the_verdict_on_an_operator():
    entry = {"entry": "x"}
    for words, overall in (
        ([SAME, OFF_ALIKE], SAME),
        ([SAME, OTHER_CHOICE], DIFFERS),
        ([DIFFERS, RAISES], RAISES),
        ([RAISES, MISSING], MISSING),
        ([MISSING, HANGS], CRASHES),
    ):
        assert Examined(entry, [case(each) for each in words]).verdict == overall


def test_operators_differ_in_one_of_five_ways():
    kinds = [
        kind(Examined({"entry": "x"}, [case(*each)]))
        for each in (
            (DIFFERS, "ordinary", "float64", 1e-9),
            (OTHER_CHOICE, "ties", "float32", 0.0),
            (DIFFERS, "NaN and infinity", "float32", None),
            (DIFFERS, "mean 30", "float32", 1e-4),
            (DIFFERS, "ordinary", "float64", 1e-3),
        )
    ]
    assert len(set(kinds)) == 5


def test_the_published_pages_are_their_records():
    records = publishing.PUBLISHED
    assert (records.parent / PAGE).read_text(encoding="utf-8") == atlas(records, records.parent)
    assert API.read_text(encoding="utf-8") == api_page(records)
    assert [one.entry for one in examined(records)] == described()  # else run nox -s operators, then publish


def test_the_list_of_defects_and_the_reproductions_are_the_same():
    listed = re.findall(r"\[(\w+)\.py\]\(\1\.py\)", (DEFECTS / "README.md").read_text(encoding="utf-8"))
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in DEFECTS.glob("*.py")}
    assert sorted(listed) == sorted(scripts)
    for name, script in scripts.items():
        imported = set(re.findall(r"^(?:import|from) (\w+)", script, re.MULTILINE))
        assert imported <= {"jittor", "numpy", "sys", "os", "math", "subprocess"}, name
        assert "expected" in script and "sys.exit(" in script and len(script.splitlines()) <= 30, name
