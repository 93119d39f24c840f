"""Module by module, teacher-forced: each module alone on the inputs and cotangents that it had in the truth."""

import numpy as np
import pytest

from frameworks.judge.blame import replay_inputs
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
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


# Norms of "tiny" and shapes of their inputs: a batch norm and a layer norm.
NORMS = {"backbone.conv1.conv1_1.norm": (2, 8, 48, 64), "decoder.decoder.layers.0.norm1": (2, 30, 32)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("module", NORMS)
def test_norm_of_large_means(module, dtype, device, traces: Traces, record):
    """Means of 300 beside a deviation of 1: a variance computed as E[x^2] - E[x]^2 has no digit left in float32."""
    subject, shape = subjects.subject("tiny"), NORMS[module]
    spread = np.sqrt(12) * (drawn_inputs.uniform(f"{module}.x", shape, subject.seed) - 0.5)
    cotangent = drawn_inputs.uniform(f"{module}.c", shape, subject.seed) - 0.5
    inputs = rounded({"input/0": 300 + spread, "cotangent/0": cotangent})
    case = Case("module", subject.spec, training=True, module=module)
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, dtype, device)
    assert_agreement(outputs, truth, record(subject, f"{module}, mean 300", dtype, device))
