"""The kernels that the rest of the session does not use: by default the formulas that the C++ operators replace.

Both twins compile the same C++ source, so that the comparison of the twins could miss a mistake in it. The formulas
are written in each twin: here they are held to each other, and to what the C++ operators compute.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest

import frameworks
from frameworks.judge.blame import replay_inputs
from frameworks.judge.record import Record
from frameworks.protocol import Case
from parity_tests import test_model, test_modules, test_steps
from parity_tests.agreement import DTYPES, assert_same_function
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Traces, rounded

LAYER = "decoder.decoder.layers.1"
MODULES = [
    ("tiny", f"{LAYER}.cross_attn"),
    ("tiny", LAYER),
    ("tiny_hgnetv2", f"{LAYER}.cross_attn"),  # unequal numbers of points
    ("tiny_dla", f"{LAYER}.cross_attn"),  # discrete sampling
]
QUESTIONS = {
    "evaluation": test_model.test_evaluation,
    "training": test_model.test_training,
    "one step": lambda name, *rest: test_steps.test_steps(name, 1, *rest),
}


@pytest.fixture
def other_record(record: Callable[..., Record], other_path: str) -> Callable[..., Record]:
    """``record`` under another preset's name."""
    return lambda subject, *rest: record(replace(subject, name=f"{subject.name}, {other_path} kernels"), *rest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_whole_model(question, dtype, other_traces: Traces, other_record):
    """The tests of the whole model, on the other kernels."""
    QUESTIONS[question]("tiny", dtype, "cpu", other_traces, other_record)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "module"), MODULES)
def test_module(name, module, dtype, other_traces: Traces, other_record):
    """The tests of a module, on the other kernels."""
    test_modules.test_module(name, module, dtype, "cpu", other_traces, other_record)


def test_discrete_sampling(traces: Traces, record):
    """On the session's own kernels, since its models have only the other method."""
    for dtype in DTYPES:
        test_modules.test_module(*MODULES[-1], dtype, "cpu", traces, record)


@pytest.mark.parametrize("name", dict(MODULES))
def test_both_kernels_compute_the_same(name, traces: Traces, other_traces: Traces, other_record):
    """Each twin's training pass of tiny, and a decoder layer of the others, against the truth of the session."""
    subject = subjects.subject(name)
    whole, inputs = subjects.training_case(subject), subject.training_inputs()
    case = whole
    if name != "tiny":
        case = Case("module", subject.spec, training=True, module=LAYER)
        inputs = rounded(replay_inputs(traces.training(subject, *TRUTH), LAYER))
    truth = traces.run(case, subject, inputs, *TRUTH)
    run = functools.partial(other_traces.run, case, subject, inputs, dtype="float64", device="cpu")
    outputs = {framework: run(framework) for framework in frameworks.ADAPTERS}
    assert_same_function(outputs, truth, other_record(subject, "against the other kernels", "float64", "cpu"))
