"""Module by module, teacher-forced: each module alone on the inputs and cotangents that it had in the truth."""

import pytest

from frameworks.judge.blame import replay_inputs
from frameworks.protocol import Case
from frameworks.state.module_paths import module_paths
from parity_tests.agreement import DEVICES, DTYPES, assert_agreement
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Traces, rounded

ZOO = tuple(name for name in subjects.TINY if name not in subjects.FAST)
MODULES = [
    pytest.param(name, path, marks=[pytest.mark.zoo] * (name in ZOO))
    for name in (*subjects.FAST, *ZOO)
    for path in module_paths(subjects.subject(name).spec.model)
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "module"), MODULES)
def test_module(name, module, dtype, device, traces: Traces, record):
    """Outputs, and gradients towards inputs and parameters."""
    subject = subjects.subject(name)
    case = Case("module", subject.spec, training=True, module=module)
    inputs = rounded(replay_inputs(traces.training(subject, *TRUTH), module))
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, dtype, device)
    assert_agreement(outputs, truth, record(subject, module, dtype, device))
